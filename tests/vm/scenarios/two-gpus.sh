# SPDX-License-Identifier: MIT OR Apache-2.0
# about: two GPUs, each with its own window and its own buffers, from one heap
# source: kernel, handed
# overlay: second-gpu
# tee: sim, static

load_protheap
load_tee_late 1500
start_binder
for device in $GPUS; do
	check "$device is held" is "$(attr state "$device")" held
done
load_gpu
end_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
for device in $GPUS; do
	check "$device probes" wait_until 2 gpu_probed "$device"
	check "$device has its buffers" is "$(attr state "$device")" in-use
done
check 'both bindings are in state.json' at_least "$(($(step_us bound 0) + $(step_us bound 1)))" 1
first=${GPUS%% *}
second=${GPUS##"$first "}
second=${second% }
check 'the buffers are distinct' differs "$(gpu firmware_dma "$first")" "$(gpu firmware_dma "$second")"
