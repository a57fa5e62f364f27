# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap exists but its TEE is gone: the binder reports heap-dead, and the GPU probes at once
# source: kernel, handed

load_tee
drop_tee
need wait_until 5 fails_with EINVAL protheap-guest alloc protected,secure-video 4096
load_protheap
run_binder
check 'the binder exits with status 1' is "$BINDER_STATUS" 1
check 'state.json reports state failed and reason heap-dead' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'failed heap-dead'
load_gpu
check 'the GPU probes at once' gpu_probed
check 'the GPU driver has no protected buffer' is "$(gpu bound)" 0

need modprobe -r csfgpu
restore_tee
need wait_until 5 protheap-guest alloc protected,secure-video 4096
run_binder
check 'the next binder binds the heap when its TEE is back' is "$BINDER_STATUS $(attr state)" '0 bound'
