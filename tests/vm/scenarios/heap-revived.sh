# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a heap whose TEE has gone is there, and the TEE can still come back: it is waited for, tried again, and bound
# source: kernel, handed

load_tee
need rmmod simtee
check 'the heap is dead' fails_with EINVAL protheap-guest alloc protected,secure-video 4096
load_protheap
protheap-guest write /sys/bus/platform/drivers_probe firmware:optee
start_binder
check 'the GPU is held' is "$(attr state)" held
load_gpu
load_tee
end_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the heap was waited for' at_least "$(step_us provider-settled)" 1
check 'and bound when it lived again' wait_until 2 holds "$CONFIG/$GPU/state" in-use
