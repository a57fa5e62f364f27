# SPDX-License-Identifier: MIT OR Apache-2.0
# about: while the firmware takes long to enter protected mode, panthor serves requests for memory and MMU faults
# tee: sim, static
# clock: instructions
# limit: 120

bound_panthor 4 protected_enter_ms=300
at_least_requests() { at_least "$(model heap-requests)" "$1"; }
check 'a protected job runs, although the firmware takes 300 ms to enter protected mode' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'jobs of the tiler run' is "$(panthor tiler-job --count 5)" 'tiler-jobs 5/5'
check 'each job of the tiler gets memory' is "$(model heap-requests) $(model heap-chunks)" '5 5'

# The firmware does not enter protected mode while a stream waits for memory.
panthor tiler-job --count 150 >/run/tiler 2>&1 &
check 'jobs of the tiler are running' wait_until 5 at_least_requests 10
check 'a protected job completes among jobs of the tiler' is "$(panthor protected-job)" 'protected-jobs 1/1'
wait
check 'jobs of the tiler complete during an entry to protected mode' is "$(cat /run/tiler)" 'tiler-jobs 150/150'
check 'panthor gives memory to the tiler while the firmware is about to enter protected mode' at_least "$(model heap-chunks-while-entering)" 5
check 'no request for memory is left' equal_nonzero "$(model heap-chunks)" "$(model heap-requests)"
check 'panthor has not reset the GPU for requests of memory' is "$(model boots)" 1

say 'MMU faults'
# This group stays in the first slot.
keep_awake
keep_groups 1 --job --priority high
panthor protected-job >/run/protected 2>&1 &
check 'the firmware is about to enter protected mode' wait_until 5 is_count 1 firmware_says entering-protected-mode
commands=$(model mmu-commands-while-entering)
need inject mmu-fault
more_commands() { at_least "$(model mmu-commands-while-entering)" $((commands + 1)); }
check 'panthor handles an MMU fault of another group' wait_until 1 more_commands
# The debug kernel takes longer for the fault than the firmware for the entry.
[ -e /sys/kernel/debug/kmemleak ] ||
	check 'the firmware is still about to enter protected mode' is "$(firmware_says entering-protected-mode)" 1
wait $!
check 'the protected job completes after an MMU fault' is "$(cat /run/protected)" 'protected-jobs 1/1'
release_groups
check 'the group with the MMU fault is lost' like "$(groups_said)" 'groups 1, jobs 1/1, jobs 0/1 E*, destroyed 1/1'
check 'panthor has not reset the GPU for an MMU fault' is "$(model boots)" 1

say 'both at the same time'
panthor protected-job --count 3 >/run/protected 2>&1 &
panthor tiler-job --count 100 >/run/tiler 2>&1 &
for round in 1 2 3; do
	panthor unmapped-write >"/run/fault.$round" 2>&1 &
	sleep 0.2
done
wait
check 'protected jobs complete among requests for memory and MMU faults' is "$(cat /run/protected)" 'protected-jobs 3/3'
check 'jobs of the tiler complete among MMU faults' is "$(cat /run/tiler)" 'tiler-jobs 100/100'
check 'each job with an MMU fault fails' is "$(cat /run/fault.* | grep -c '^fence E')" 3
check 'panthor has never reset the GPU' is "$(model boots)" 1
check 'the firmware leaves protected mode as often as it enters it' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'the bus denies no access' is "$(model denied) $(model protected-faults)" '0 0'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
