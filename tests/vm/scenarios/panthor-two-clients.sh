# SPDX-License-Identifier: MIT OR Apache-2.0
# about: clients with ordinary and with protected jobs run at the same time, and no job is starved
# tee: sim, static
# smp: 2
# limit: 60

bound_panthor 8
check 'one ordinary and one protected client run all jobs' is "$(panthor clients 1 --count 100 | sort | tr '\n' ' ')" 'jobs 100/100 protected-jobs 100/100 '
# In the pauses the GPU suspends, for which both groups are suspended.
check 'one ordinary and one protected client run all jobs with pauses' is "$(panthor clients 1 --count 5 --gap 300 | sort | tr '\n' ' ')" 'jobs 5/5 protected-jobs 5/5 '
check 'three ordinary and three protected clients run all jobs' is "$(panthor clients 3 --count 50 | sort -u | tr '\n' ' ')" 'jobs 50/50 protected-jobs 50/50 '
check 'the firmware enters protected mode' at_least "$(model protected-entries)" 100
check 'the firmware leaves protected mode as often as it enters it' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'the bus denies no access' is "$(model denied) $(model protected-faults)" '0 0'
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the firmware booted once' is "$(model boots)" 1
check 'the simulated GPU reports no violation' is "$(check_model)" fine
