# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU that probed before the binder started is not held for a heap that does not exist yet

load_protheap
load_tee delay_ms=-1
load_gpu
check 'the GPU probes before the binder starts' gpu_probed
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports state unprotected and reason already-probed' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected already-probed'
check 'the binder does not hold the GPU' is "$(state_of /gpus/0/held_us)" 0
