# SPDX-License-Identifier: MIT OR Apache-2.0
# about: when protected mode does not end, even by force, the GPU recovers with its protected memory
# tee: sim, static
# limit: 60

bound_panthor 4
at=$(firmware_says protected-section-at)
check 'protected jobs run' is "$(panthor protected-job)" 'protected-jobs 1/1'
need inject protm-stuck
panthor protected-job >/run/stuck 2>&1 &
check 'the firmware stays in protected mode' wait_until 5 is_count 1 firmware_says protected-mode
sleep 0.5
check 'the firmware stays in protected mode while no other group runs' is "$(firmware_says protected-mode)" 1
check 'jobs of another group run' is "$(panthor job --count 3)" 'jobs 3/3'
wait
check 'the interrupted protected job completes' is "$(cat /run/stuck)" 'protected-jobs 1/1'
check 'panthor does not reset the GPU for that' is "$(model boots)" 1

say 'protected mode does not end even by force'
need inject protm-dead
panthor protected-job >/run/dead 2>&1
check 'the protected job fails' like "$(cat /run/dead)" 'protected-jobs 0/1*'
check 'panthor resets the GPU' wait_until 20 booted_since 1
check 'protected jobs run after the reset' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
check 'the protected section has not moved' is "$(firmware_says protected-section-at)" "$at"
check 'the simulated GPU reports no violation' is "$(check_model)" fine
