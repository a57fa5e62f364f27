# SPDX-License-Identifier: MIT OR Apache-2.0
# about: nothing on the board could bring a heap: the GPU is not held at all
# overlay: no-tee

load_protheap
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-provider'
check 'the GPU was not held' is "$(state_of /gpus/0/held_us)" 0
check 'no binding was opened' absent "$CONFIG/$GPU"
load_gpu
check 'the GPU probes at once' gpu_probed
check 'without protected memory' is "$(gpu bound)" 0
