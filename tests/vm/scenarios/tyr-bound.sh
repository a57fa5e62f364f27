# SPDX-License-Identifier: MIT OR Apache-2.0
# about: Tyr of the patched kernel waits for the binding, loads the protected section of its firmware there, and releases it on unbind
# board: rk3588 imx95 mt8196
# source: kernel, handed

load_model
load_protheap
start_binder
need modprobe tyr
check 'Tyr does not probe while the GPU is held' has_no_driver
check 'the kernel lists why Tyr is deferred' like "$(cat /sys/kernel/debug/devices_deferred)" "$GPU*no decision about protected memory yet*"
check 'Tyr does not access the GPU while it is held' is "$(model soft-resets) $(model boots)" '0 0'
load_tee
end_binder
check 'the firmware boots when the heap appears' wait_until 5 is_count 1 firmware_says up
check 'Tyr probes' is_driver tyr
check 'Tyr uses the binding' is "$(attr state) $(counter in-use)" 'in-use 1'
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'all 64 pages of the protected section are in the carve-out' is "$(firmware_says protected-section-pages)" 64
check 'the firmware has prepared protected mode' is "$(firmware_says prepared)" 1
check 'the firmware has booted once' is "$(model boots)" 1
check 'Tyr uses no suspend buffer' is "$(attr suspend_in_use)" 0
check 'the simulated GPU reports no violation' is "$(check_model)" fine

need unbind_gpu tyr
check 'Tyr releases the binding when it is unbound' is "$(attr state) $(counter in-use)" 'bound 0'
need rmdir "$CONFIG/$GPU"
check 'the TEE has all memory back' wait_until 5 is_zero given_out
check 'no dma-buf is left' wait_until 5 is_zero buffers
check 'the simulated GPU reports no violation after Tyr was unbound' is "$(check_model)" fine
check 'tyr, protheap and simtee can be unloaded' rmmod tyr protheap simtee
