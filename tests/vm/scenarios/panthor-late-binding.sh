# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a binding that is committed after panthor has probed boots the firmware again, and running groups lose no work
# linux: 7.2, 7.3
# source: kernel, handed
# tee: sim, static

load_model
load_tee
load_protheap
load_panthor
check 'panthor probes without protected memory' is "$(driver) $(firmware_says protected-section)" 'panthor none'
check 'panthor refuses a protected group without a binding' is "$(panthor group --protected 2>&1)" 'groups 0 EOPNOTSUPP'
keep_groups 3 --job
make_binding protected,secure-video 65536 4
check 'panthor boots the firmware again' wait_until 5 is_count 2 model boots
check 'the firmware has its protected section after the second boot' is "$(firmware_says protected-section)" carve-out
check 'the firmware has prepared protected mode after the second boot' is "$(firmware_says prepared)" 1
check 'panthor uses the binding' is "$(attr state)" in-use
check 'protected jobs run' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
release_groups
check 'groups from before the binding run a second job' is "$(groups_said)" 'groups 3, jobs 3/3, jobs 3/3, destroyed 3/3'
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the simulated GPU reports no violation' is "$(check_model)" fine
