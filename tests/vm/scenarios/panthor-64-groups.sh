# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor refuses protected groups for which there is no suspend buffer, and no other group is affected
# tee: sim, static
# limit: 60

bound_panthor 16
groups_per_file 64
try_groups 64 --protected --job
check 'panthor makes as many protected groups as there are suspend buffers' is "$(groups_said)" 'groups 16 ENOBUFS, jobs 16/16'
check 'all suspend buffers are in use' is "$(attr suspend_in_use) $(attr suspend_free)" '16 0'
check 'another program gets no protected group' is "$(panthor group --protected 2>&1)" 'groups 0 ENOBUFS'
check 'another program runs ordinary jobs' is "$(panthor oversubscribe --count 5)" 'jobs 60/60'
check 'another program gets 64 ordinary groups' is "$(panthor group --count 64 --job)" 'groups 64
jobs 64/64
destroyed 64/64'
release_groups
check 'the protected groups keep running' is "$(groups_said)" 'groups 16 ENOBUFS, jobs 16/16, jobs 16/16, destroyed 16/16'
check 'the firmware suspends and resumes groups meanwhile' at_least "$(model group-resumes)" 1
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'all suspend buffers are free again' wait_until 5 holds "$CONFIG/$GPU/suspend_free" 16
check 'a protected job runs when suspend buffers are free' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
