# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU driver probed before protheap.ko was loaded: it never asked, and is left alone

load_tee
load_gpu
check 'the GPU has probed' gpu_probed
probed=$(gpu probed_at_us)
load_protheap
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-consumer'
check 'no binding is left open' absent "$CONFIG/$GPU"
check 'the GPU was not disturbed' is "$(gpu probed_at_us)" "$probed"
check 'nothing stays allocated' wait_until 2 is_zero buffers
