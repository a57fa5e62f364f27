# SPDX-License-Identifier: MIT OR Apache-2.0
# about: more protected groups than there are suspend buffers: they are refused, and nobody else is harmed
# tee: sim, static
# limit: 60

bound_panthor 16
groups_per_file 64
try_groups 64 --protected --job
check 'as many groups are made as there are buffers' is "$(groups_said)" 'groups 16 ENOBUFS, jobs 16/16'
check 'all of which are in use' is "$(attr suspend_in_use) $(attr suspend_free)" '16 0'
check 'somebody else gets none' is "$(panthor group --protected 2>&1)" 'groups 0 ENOBUFS'
check 'but has what needs none' is "$(panthor oversubscribe --count 5)" 'jobs 60/60'
check 'and ordinary groups as many as before' is "$(panthor group --count 64 --job)" 'groups 64
jobs 64/64
destroyed 64/64'
release_groups
check 'those that were made ran on' is "$(groups_said)" 'groups 16 ENOBUFS, jobs 16/16, jobs 16/16, destroyed 16/16'
check 'groups were suspended and resumed meanwhile' at_least "$(model group-resumes)" 1
check 'every group that was resumed had the state it was suspended with' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'every buffer is free again' wait_until 5 holds "$CONFIG/$GPU/suspend_free" 16
check 'and can be had' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the model has nothing to complain of' is "$(check_model)" fine
