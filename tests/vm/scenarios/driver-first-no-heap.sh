# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU probed before the binder came, and there is no heap yet: nothing is held for it

load_protheap
load_tee delay_ms=-1
load_gpu
check 'the GPU has probed' gpu_probed
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected already-probed'
check 'nothing was held' is "$(state_of /gpus/0/held_us)" 0
