# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the TEE's probe never ends: the GPU probes when the hold is over

load_protheap
load_tee delay_ms=-1
start_binder
load_gpu
check 'the GPU is held' is "$(attr state)" held
end_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected heap-late'
check 'the GPU was held for the whole hold' at_least "$(state_of /gpus/0/held_us)" 4900000
check 'and not longer' at_most "$(state_of /gpus/0/held_us)" 5100000
check 'the GPU probes' wait_until 2 gpu_probed
check 'without protected memory' is "$(gpu bound)" 0
check 'the kernel says why' is "$(attr reason)" heap-late
