# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a heap without memory for the firmware buffer and at least one suspend buffer is rejected as too small
# source: kernel, handed

load_tee size=131072
load_protheap
run_binder
check 'the binder exits with status 1' is "$BINDER_STATUS" 1
check 'state.json reports state failed and reason heap-too-small' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'failed heap-too-small'
load_gpu
check 'the GPU probes at once' gpu_probed
check 'the GPU driver has no protected buffer' is "$(gpu bound)" 0
check 'no buffer stays allocated' wait_until 2 is_zero buffers

need rmmod csfgpu simtee
load_tee size=262144
run_binder
check 'the binder rejects a heap with memory for the firmware buffer only' is "$(state_of /gpus/0/reason)" heap-too-small
check 'no buffer stays allocated after the second rejection' wait_until 2 is_zero buffers
