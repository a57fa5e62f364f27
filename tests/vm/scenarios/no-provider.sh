# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a board that has no heap provider, the GPU is not held
# overlay: no-tee

load_protheap
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports state unprotected and reason no-provider' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-provider'
check 'the binder does not hold the GPU' is "$(state_of /gpus/0/held_us)" 0
check 'the binder leaves no binding' absent "$CONFIG/$GPU"
load_gpu
check 'the GPU probes at once' gpu_probed
check 'the GPU driver has no protected buffer' is "$(gpu bound)" 0
