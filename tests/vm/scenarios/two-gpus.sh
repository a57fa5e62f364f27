# SPDX-License-Identifier: MIT OR Apache-2.0
# about: two GPUs have separate holds, and separate buffers from one heap
# source: kernel, handed
# overlay: second-gpu
# tee: sim, static

load_protheap
load_tee_late 1500
start_binder
for device in $GPUS; do
	check "$device: the GPU is held" is "$(attr state "$device")" held
done
load_gpu
end_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
for device in $GPUS; do
	check "$device: the GPU probes" wait_until 2 gpu_probed "$device"
	check "$device: the GPU uses its buffers" is "$(attr state "$device")" in-use
done
check 'state.json has the times of both bindings' at_least "$(($(step_us bound 0) + $(step_us bound 1)))" 1
first=${GPUS%% *}
second=${GPUS##"$first "}
second=${second% }
check 'the two GPUs have different firmware buffers' differs "$(gpu firmware_dma "$first")" "$(gpu firmware_dma "$second")"
