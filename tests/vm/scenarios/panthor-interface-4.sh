# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protected jobs run on a GPU of arch 13 whose firmware has interface 4.1
# board: mt8196
# tee: sim, static

bound_panthor 4 interface_version=0x04010000
check 'panthor finds interface 4.1 of the firmware' like "$(kernel_log 'CSF FW using interface')" '*interface v4.1.0*'
check 'the GPU is of arch 13' like "$(panthor query)" '*gpu-id 0xd*'
check 'protected jobs run' is "$(panthor protected-job --count 5)" 'protected-jobs 5/5'
check 'one ordinary and one protected client run all jobs with pauses' is "$(panthor clients 1 --count 5 --gap 300 | sort | tr '\n' ' ')" 'jobs 5/5 protected-jobs 5/5 '
check 'the firmware halts and resumes when the GPU suspends' at_least "$(model resumes)" 1
check 'protected groups share the slots' is "$(panthor oversubscribe --groups 4 --protected-groups 4 --count 3)" 'jobs 24/24'
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the firmware booted once' is "$(model boots)" 1
check 'the bus denies no access' is "$(model denied) $(model protected-faults)" '0 0'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
