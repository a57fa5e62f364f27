# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protected mode that is not left, or not even by force: the GPU comes back, with its protected memory
# tee: sim, static
# limit: 60

bound_panthor 4
at=$(firmware_says protected-section-at)
check 'protected jobs run' is "$(panthor protected-job)" 'protected-jobs 1/1'
need inject protm-stuck
panthor protected-job >/run/stuck 2>&1 &
check 'it is not left by itself' wait_until 5 is_count 1 firmware_says protected-mode
sleep 0.5
check 'for as long as nobody else comes' is "$(firmware_says protected-mode)" 1
check 'who comes is not held up' is "$(panthor job --count 3)" 'jobs 3/3'
wait
check 'and what is left by force is entered again' is "$(cat /run/stuck)" 'protected-jobs 1/1'
check 'without a reset' is "$(model boots)" 1

say 'not even by force'
need inject protm-dead
panthor protected-job >/run/dead 2>&1
check 'the job fails' like "$(cat /run/dead)" 'protected-jobs 0/1*'
check 'and the GPU is reset' wait_until 20 booted_since 1
check 'protected jobs run again' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
check 'the section is the same' is "$(firmware_says protected-section-at)" "$at"
check 'the model has nothing to complain of' is "$(check_model)" fine
