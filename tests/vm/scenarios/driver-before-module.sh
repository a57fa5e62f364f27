# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU driver that probed before protheap.ko was loaded is unattached, and the binder leaves the GPU as it is

load_tee
load_gpu
check 'the GPU probes without protheap.ko' gpu_probed
probed=$(gpu probed_at_us)
load_protheap
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports state unprotected and reason no-consumer' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-consumer'
check 'the binder leaves no binding' absent "$CONFIG/$GPU"
check 'the GPU does not probe again' is "$(gpu probed_at_us)" "$probed"
check 'no buffer stays allocated' wait_until 2 is_zero buffers
