# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the real panthor takes its protected section and the suspend buffers of protected groups from the binding
# linux: 7.2, 7.3
# board: rk3588 imx95 mt8196
# source: kernel, handed
# tee: sim, static, dynamic-8m, ffa

load_model
load_tee
load_protheap
run_binder
check 'the binder commits the binding' is "$(attr state)" bound
load_panthor
keep_awake
check 'panthor probes' is "$(driver)" panthor
check 'panthor uses the binding' is "$(attr state)" in-use
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'all 64 pages of the protected section are in the carve-out' is "$(firmware_says protected-section-pages)" 64
check 'the firmware has prepared protected mode' is "$(firmware_says prepared)" 1
check 'the firmware has booted once' is "$(model boots)" 1

check 'ordinary jobs run' is "$(panthor job --count 20)" 'jobs 20/20'
check 'ordinary jobs use no protected suspend buffer' is "$(attr suspend_in_use)" 0
keep_groups 2 --job
check 'ordinary groups use no protected suspend buffer' is "$(attr suspend_in_use)" 0
check 'the suspend buffers of ordinary groups are in ordinary memory' is "$(group_buffers)" 'ordinary ordinary'
release_groups
keep_groups 2 --protected --job
check 'each protected group uses one protected suspend buffer' is "$(attr suspend_in_use)" 2
check 'a protected group has one ordinary and one protected suspend buffer' is "$(group_buffers)" 'ordinary carve-out'
check 'the suspend buffers have the size that the firmware requests' is "$(awk '{ print $11 }' $MODEL/groups | sort -u)" 65536
release_groups
check 'protected groups release their suspend buffers' wait_until 2 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the simulated GPU reports no violation' is "$(check_model)" fine
