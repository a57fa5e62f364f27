# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap exists, the binder binds it, and the GPU probes with its protected buffers
# linux: 7.2, 7.3
# source: kernel, handed
# tee: sim, static, dynamic-8m

load_tee
load_protheap
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'the binder commits the binding' is "$(attr state)" bound
check 'the binding has the heap of the policy' is "$(attr heap)" protected,secure-video
check 'the exporter of the buffers is the TEE' is "$(attr exporter)" tee
check 'the binding has as many free suspend buffers as the policy requests' equal_nonzero "$(attr suspend_free)" "$(state_of /gpus/0/suspend_count)"

load_gpu
check 'the GPU probes' gpu_probed
check 'the GPU probes after the binding was committed' at_least "$(gpu probed_at_us)" "$(step_us bound)"
check 'the GPU driver has the firmware buffer' is "$(gpu firmware_bytes)" 262144
check 'the binding is in use' is "$(attr state)" in-use
check 'a group takes a suspend buffer' create_group
check 'one suspend buffer is in use' is "$(attr suspend_in_use)" 1
check 'the group releases its suspend buffer' destroy_group
check 'no suspend buffer is in use after the group has released its own' is "$(attr suspend_in_use)" 0

check 'state.json reports state bound' is "$(state_of /gpus/0/state)" bound
check 'state.json has no reason' empty state_of /gpus/0/reason
check 'state.json names the policy' is "$(state_of /gpus/0/policy)" rockchip,rk3588
check 'state.json reports the protection as tee' is "$(state_of /gpus/0/protection)" tee
check 'media stacks find the heap by its usage' is "$(readlink /run/protheap/heaps/secure-video)" /dev/dma_heap/protected,secure-video
