# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the TEE comes and brings no heap: the GPU is released then, not at the ceiling

load_protheap
load_tee delay_ms=1500 heaps=
start_binder
check 'the GPU is held while the TEE can still bring a heap' is "$(attr state)" held
load_gpu
end_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-heap'
check 'the GPU was held until the TEE had settled' at_least "$(state_of /gpus/0/held_us)" 200000
check 'and not to the ceiling' at_most "$(state_of /gpus/0/held_us)" 3500000
check 'the GPU probes' wait_until 2 gpu_probed
check 'the kernel knows that it was decided' is "$(attr state)" none

need rmdir "$CONFIG/$GPU"
run_binder
check 'a TEE that has settled before is not waited for' is "$(state_of /gpus/0/held_us)" 0
check 'and no binding is opened' absent "$CONFIG/$GPU"
