# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the binder waits for the TEE of a dead heap, and binds the heap when the TEE is back
# source: kernel, handed

load_tee
need rmmod simtee
check 'the heap without its TEE is dead' fails_with EINVAL protheap-guest alloc protected,secure-video 4096
load_protheap
protheap-guest write /sys/bus/platform/drivers_probe firmware:optee
start_binder
check 'the GPU is held' is "$(attr state)" held
load_gpu
load_tee
end_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'the timeline has the step of the provider' at_least "$(step_us provider-probed)" 1
check 'the GPU uses the heap when its TEE is back' wait_until 2 holds "$CONFIG/$GPU/state" in-use
