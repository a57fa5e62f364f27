# SPDX-License-Identifier: MIT OR Apache-2.0
# about: clients with ordinary and clients with protected work at once, and none waits for another in vain
# tee: sim, static
# smp: 2
# limit: 60

bound_panthor 8
check 'one of each' is "$(panthor clients 1 --count 100 | sort | tr '\n' ' ')" 'jobs 100/100 protected-jobs 100/100 '
check 'three of each' is "$(panthor clients 3 --count 50 | sort -u | tr '\n' ' ')" 'jobs 50/50 protected-jobs 50/50 '
check 'protected mode was entered' at_least "$(model protected-entries)" 100
check 'and left as often' is "$(model protected-exits)" "$(model protected-entries)"
check 'nobody was denied' is "$(model denied) $(model protected-faults)" '0 0'
check 'what was suspended came back as it was' is "$(model group-resumes)" "$(model resumed-intact)"
check 'the firmware booted once' is "$(model boots)" 1
check 'the model has nothing to complain of' is "$(check_model)" fine
