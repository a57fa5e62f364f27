# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the probe of panthor is deferred until the heap appears, and does not access the GPU before
# linux: 7.2, 7.3
# source: kernel, handed
# tee: sim, static

load_model
load_protheap
start_binder
load_panthor
check 'panthor does not probe while the GPU is held' has_no_driver
check 'the kernel lists why panthor is deferred' like "$(cat /sys/kernel/debug/devices_deferred)" "$GPU*no decision about protected memory yet*"
check 'panthor does not access the GPU while it is held' is "$(model soft-resets) $(model boots)" '0 0'
load_tee
end_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'panthor probes' wait_until 5 is_driver panthor
check 'panthor uses the binding' is "$(attr state)" in-use
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'protected jobs run' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
