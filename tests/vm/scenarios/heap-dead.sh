# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap is there, but its TEE has gone: the GPU fails to get it, and probes at once
# source: kernel, handed

load_tee
drop_tee
need wait_until 5 fails_with EINVAL protheap-guest alloc protected,secure-video 4096
load_protheap
run_binder
check 'the binder tells of a failure' is "$BINDER_STATUS" 1
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'failed heap-dead'
load_gpu
check 'the GPU probes at once' gpu_probed
check 'without protected memory' is "$(gpu bound)" 0

need modprobe -r csfgpu
restore_tee
need wait_until 5 protheap-guest alloc protected,secure-video 4096
run_binder
check 'a heap that lives again is bound by the next run' is "$BINDER_STATUS $(attr state)" '0 bound'
