# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel's own Tyr waits for the binding and has its firmware's section there; unbind gives all back
# board: rk3588 imx95 mt8196
# source: kernel, handed

load_model
load_protheap
start_binder
need modprobe tyr
check 'Tyr does not probe while the GPU is held' has_no_driver
check 'and says for what' like "$(cat /sys/kernel/debug/devices_deferred)" "$GPU*no decision about protected memory yet*"
check 'it has not touched the GPU' is "$(model soft-resets) $(model boots)" '0 0'
load_tee
end_binder
check 'its firmware boots once the heap is there' wait_until 5 is_count 1 firmware_says up
check 'Tyr has probed' is_driver tyr
check 'the binding is in use' is "$(attr state) $(counter in-use)" 'in-use 1'
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'as a whole' is "$(firmware_says protected-section-pages)" 64
check 'the firmware has prepared itself for protected mode' is "$(firmware_says prepared)" 1
check 'at its only boot' is "$(model boots)" 1
check 'no suspend buffer is taken' is "$(attr suspend_in_use)" 0
check 'the model has nothing to complain of' is "$(check_model)" fine

need unbind_gpu tyr
check 'without its driver, the GPU is only bound' is "$(attr state) $(counter in-use)" 'bound 0'
need rmdir "$CONFIG/$GPU"
check 'the TEE has every byte back' wait_until 5 is_zero given_out
check 'there is no dma-buf' wait_until 5 is_zero buffers
check 'nobody has touched protected memory' is "$(check_model)" fine
check 'every module can go' rmmod tyr protheap simtee
