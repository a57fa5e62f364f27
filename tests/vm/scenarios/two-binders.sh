# SPDX-License-Identifier: MIT OR Apache-2.0
# about: two binders at the same time: the second lets the boot go on, waits, and adopts what the first has bound
# source: kernel, handed

load_protheap
load_tee delay_ms=1000
start_binder
first=$BINDER
start_binder
check 'the second says that it is ready, though the first is at work' is "$(attr state)" held
load_gpu
end_binder
check 'the second ends well' is "$BINDER_STATUS" 0
BINDER=$first
end_binder
check 'the first ended well' is "$BINDER_STATUS" 0
check 'the GPU has its buffers' is "$(attr state)" in-use
check 'the second adopts the binding and leaves state.json as the first wrote it' empty state_of /gpus/0/reason
check 'nothing was allocated twice' is "$(buffers)" 17
