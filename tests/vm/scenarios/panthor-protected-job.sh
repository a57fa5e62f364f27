# SPDX-License-Identifier: MIT OR Apache-2.0
# about: jobs write protected memory in protected mode, and only there
# board: rk3588 imx95 mt8196
# tee: sim, static
# limit: 60

bound_panthor 12
check 'protected jobs run' is "$(panthor protected-job --count 50)" 'protected-jobs 50/50'
check 'each asked for protected mode' at_least "$(model protected-requests)" 50
check 'which was entered' at_least "$(model protected-entries)" 50
check 'protected mode was left as often as it was entered' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'they wrote to protected memory' at_least "$(model protected-accesses)" 50
check 'and nobody was denied it' is "$(model denied) $(model protected-faults)" '0 0'
check 'the firmware booted once' is "$(model boots)" 1

say 'more of them than the firmware has slots'
# What runs in protected mode does not end before it is suspended.
need inject protm-stuck
check 'they take turns' is "$(panthor oversubscribe --groups 6 --protected-groups 6 --count 5 --pass 2000)" 'jobs 60/60'
check 'some were suspended in protected mode' at_least "$(model protected-suspends)" 1
check 'groups suspended in protected mode were resumed with their state' equal_nonzero "$(model protected-resumes-intact)" "$(model protected-suspends)"
check 'more groups than slots: protected mode was left as often as it was entered' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'nobody was denied' is "$(model denied) $(model protected-faults)" '0 0'
check 'the model has nothing to complain of' is "$(check_model)" fine

say 'who has no business there'
check 'a write from outside of protected mode is denied' like "$(panthor unprotected-write)" '*fence E*'
check 'by the bus' at_least "$(model denied)" 1
check 'a group that is not protected has no protected mode' like "$(panthor protected-job --ordinary 2>&1)" '*fatal*'
check 'the GPU is well after that' is "$(panthor protected-job)" 'protected-jobs 1/1'
