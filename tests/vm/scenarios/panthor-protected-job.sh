# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protected jobs write to protected memory in protected mode, and no other job can
# board: rk3588 imx95 mt8196
# tee: sim, static
# limit: 60

bound_panthor 12
check 'protected jobs run' is "$(panthor protected-job --count 50)" 'protected-jobs 50/50'
check 'each protected job requests protected mode' at_least "$(model protected-requests)" 50
check 'the firmware enters protected mode for each request' at_least "$(model protected-entries)" 50
check 'the firmware leaves protected mode as often as it enters it' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'each protected job writes to protected memory' at_least "$(model protected-accesses)" 50
check 'the bus denies no access of protected jobs' is "$(model denied) $(model protected-faults)" '0 0'
check 'the firmware has booted once' is "$(model boots)" 1

say 'more groups than slots of the firmware'
# With this fault, protected mode lasts until its group is suspended.
need inject protm-stuck
check 'protected groups share the slots' is "$(panthor oversubscribe --groups 6 --protected-groups 6 --count 5 --pass 2000)" 'jobs 60/60'
check 'the firmware suspends groups in protected mode' at_least "$(model protected-suspends)" 1
check 'the firmware resumes groups that were suspended in protected mode with their state' equal_nonzero "$(model protected-resumes-intact)" "$(model protected-suspends)"
check 'more groups than slots: the firmware leaves protected mode as often as it enters it' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'more groups than slots: the bus denies no access' is "$(model denied) $(model protected-faults)" '0 0'
check 'the simulated GPU reports no violation' is "$(check_model)" fine

say 'jobs without the right to protected memory'
check 'a write outside of protected mode fails' like "$(panthor unprotected-write)" '*fence E*'
check 'the bus denies the write outside of protected mode' at_least "$(model denied)" 1
check 'a group that is not protected cannot enter protected mode' like "$(panthor protected-job --ordinary 2>&1)" '*fatal*'
check 'a protected job runs after the failed ones' is "$(panthor protected-job)" 'protected-jobs 1/1'
