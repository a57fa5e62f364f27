# SPDX-License-Identifier: MIT OR Apache-2.0
# about: when protected mode fails or does not end, even by force, the GPU recovers with its protected memory
# tee: sim, static
# limit: 90

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

say 'the GPU reports a fault in protected mode'
keep_groups 2 --job
boots=$(model boots)
need inject protm-fault
panthor protected-job >/run/fault 2>&1
check 'the job that ran in protected mode fails' like "$(cat /run/fault)" 'protected-jobs 0/1*fatal-fault*'
check 'the group that ran in protected mode is not called innocent' like "$(cat /run/fault)" '*group fatal-fault'
check 'panthor resets the GPU for the fault' wait_until 20 booted_since "$boots"
check 'protected jobs run after the fault' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
release_groups
check 'groups of other clients run jobs after the fault' is "$(groups_said)" 'groups 2, jobs 2/2, jobs 2/2, destroyed 2/2'

say 'the watchdog of the firmware'
# panthor pings the firmware every 12 s, and a ping ends protected mode. A job may be in protected mode for 5 s.
keep_awake
# Simulating these 30 s costs much time, so the registers are polled less often.
need protheap-guest write /sys/module/csfmodel/parameters/period_us 1000
check 'a protected job runs before the watchdog is due' is "$(panthor protected-job)" 'protected-jobs 1/1'
pings=$(model pings)
pinged() { at_least "$(model pings)" $((pings + 1)); }
check 'panthor pings the firmware again after protected mode' wait_until 15 pinged
sleep 9
need inject protm-endless
entries=$(model protected-entries)
check 'a protected job that never ends times out' like "$(panthor protected-job 2>&1)" 'protected-jobs 0/1*timedout*'
check 'the watchdog has not ended protected mode' is "$(model protected-entries)" $((entries + 1))
need inject protm-ends
pings=$(model pings)
check 'panthor pings the firmware after an entry during which the watchdog was due' wait_until 15 pinged
need protheap-guest write /sys/module/csfmodel/parameters/period_us 50
let_sleep
check 'the protected section has not moved' is "$(firmware_says protected-section-at)" "$at"
check 'the simulated GPU reports no violation' is "$(check_model)" fine
