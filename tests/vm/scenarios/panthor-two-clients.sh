# SPDX-License-Identifier: MIT OR Apache-2.0
# about: clients with ordinary and clients with protected work at once, and none waits for another in vain
# tee: sim, static
# smp: 2
# limit: 60

bound_panthor 8
check 'one of each' is "$(panthor clients 1 --count 100 | sort | tr '\n' ' ')" 'jobs 100/100 protected-jobs 100/100 '
# In the pauses the GPU sleeps, for which both groups are suspended.
check 'one of each, with pauses' is "$(panthor clients 1 --count 5 --gap 300 | sort | tr '\n' ' ')" 'jobs 5/5 protected-jobs 5/5 '
check 'three of each' is "$(panthor clients 3 --count 50 | sort -u | tr '\n' ' ')" 'jobs 50/50 protected-jobs 50/50 '
check 'protected mode was entered' at_least "$(model protected-entries)" 100
check 'protected mode was left as often as it was entered' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'nobody was denied' is "$(model denied) $(model protected-faults)" '0 0'
check 'every group that was resumed had the state it was suspended with' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the firmware booted once' is "$(model boots)" 1
check 'the model has nothing to complain of' is "$(check_model)" fine
