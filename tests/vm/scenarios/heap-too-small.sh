# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a heap without memory for the firmware buffer, or for a single suspend buffer, is too small
# source: kernel, handed

load_tee size=131072
load_protheap
run_binder
check 'the binder tells of a failure' is "$BINDER_STATUS" 1
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'failed heap-too-small'
load_gpu
check 'the GPU probes at once' gpu_probed
check 'without protected memory' is "$(gpu bound)" 0
check 'nothing stays allocated' wait_until 2 is_zero buffers

need rmmod csfgpu simtee
load_tee size=262144
run_binder
check 'a heap with memory for the firmware buffer alone is too small' is "$(state_of /gpus/0/reason)" heap-too-small
check 'nothing stays allocated then either' wait_until 2 is_zero buffers
