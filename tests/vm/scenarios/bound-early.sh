# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap is there, the binder binds it, and then the GPU probes with its protected buffers
# source: kernel, handed
# tee: sim, static, dynamic-8m

load_tee
load_protheap
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the binding is made' is "$(attr state)" bound
check 'from the heap that the board policy names' is "$(attr heap)" protected,secure-video
check 'whose exporter is the TEE' is "$(attr exporter)" tee
check 'as many suspend buffers as the policy says are ready' equal_nonzero "$(attr suspend_free)" "$(state_of /gpus/0/suspend_count)"

load_gpu
check 'the GPU probes' gpu_probed
check 'after the binding' at_least "$(gpu probed_at_us)" "$(step_us bound)"
check 'it holds the firmware buffer' is "$(gpu firmware_bytes)" 262144
check 'the binding is in use' is "$(attr state)" in-use
check 'a group takes a suspend buffer' create_group
check 'one is in use' is "$(attr suspend_in_use)" 1
check 'the group gives it back' destroy_group
check 'none is in use' is "$(attr suspend_in_use)" 0

check 'state.json says bound' is "$(state_of /gpus/0/state)" bound
check 'state.json has no reason' empty state_of /gpus/0/reason
check 'by the policy' is "$(state_of /gpus/0/policy)" rockchip,rk3588
check 'protected as far as can be known' is "$(state_of /gpus/0/protection)" tee
check 'media stacks find the heap by usage' is "$(readlink /run/protheap/heaps/secure-video)" /dev/dma_heap/protected,secure-video
