# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU sleeps between jobs, and its protected memory is there when it wakes up
# tee: sim, static
# limit: 60

bound_panthor 4
at=$(firmware_says protected-section-at)
check 'jobs with pauses run' is "$(panthor job --count 5 --gap 300)" 'jobs 5/5'
check 'the GPU slept in between' at_least "$(model resumes)" 4
resumes=$(model resumes)
check 'protected jobs with pauses run' is "$(panthor protected-job --count 5 --gap 300)" 'protected-jobs 5/5'
check 'the GPU slept in between' at_least "$(model resumes)" $((resumes + 4))
check 'each was entered' at_least "$(model protected-entries)" 5
check 'each time it was a fast reset' is "$(model boots)" 1
check 'the section is where it was' is "$(firmware_says protected-section-at) $(model section-moved)" "$at 0"
check 'every group that was resumed had the state it was suspended with' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the model has nothing to complain of' is "$(check_model)" fine
