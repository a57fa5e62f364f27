# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU suspends between jobs, and has its protected memory when it resumes
# tee: sim, static
# limit: 60

bound_panthor 4
at=$(firmware_says protected-section-at)
check 'ordinary jobs with pauses run' is "$(panthor job --count 5 --gap 300)" 'jobs 5/5'
check 'the GPU suspends between ordinary jobs' at_least "$(model resumes)" 4
resumes=$(model resumes)
check 'protected jobs with pauses run' is "$(panthor protected-job --count 5 --gap 300)" 'protected-jobs 5/5'
check 'the GPU suspends between protected jobs' at_least "$(model resumes)" $((resumes + 4))
check 'the firmware enters protected mode for each protected job' at_least "$(model protected-entries)" 5
check 'the firmware never boots again' is "$(model boots)" 1
check 'the protected section has not moved' is "$(firmware_says protected-section-at) $(model section-moved)" "$at 0"
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the simulated GPU reports no violation' is "$(check_model)" fine
