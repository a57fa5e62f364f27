# SPDX-License-Identifier: MIT OR Apache-2.0
# about: of two binders at the same time, the second one lets the boot continue, waits, and adopts the binding of the first one
# source: kernel, handed

load_protheap
load_tee delay_ms=1000
start_binder
first=$BINDER
start_binder
check 'the second binder reports that it is ready while the first one holds the GPU' is "$(attr state)" held
load_gpu
end_binder
check 'the second binder exits with status 0' is "$BINDER_STATUS" 0
BINDER=$first
end_binder
check 'the first binder exits with status 0' is "$BINDER_STATUS" 0
check 'the GPU uses its buffers' is "$(attr state)" in-use
check 'the second binder adopts the binding and leaves state.json as the first one wrote it' empty state_of /gpus/0/reason
check 'no buffer is allocated twice' is "$(buffers)" 17
