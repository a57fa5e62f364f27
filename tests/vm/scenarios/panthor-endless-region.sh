# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a protected region that never ends delays no other group of its priority or a higher one, and only its job fails
# tee: sim, static
# clock: instructions
# limit: 120

bound_panthor 4
check 'a protected job runs' is "$(panthor protected-job)" 'protected-jobs 1/1'

# jobs_at PRIORITY: prints the duration of 10 jobs of a new client with that priority, in milliseconds; fails if any fails
jobs_at() {
	from=$(now_ms)
	seen=$(panthor job --count 10 --priority "$1")
	is "$seen" 'jobs 10/10' && echo $(($(now_ms) - from))
}

# The jobs may take 300 ms longer than without the region: each waits for the rest of a tick and for the exit.
before=$(jobs_at high)
most=$((before + 300))
say "10 high jobs take $before ms without a protected region that never ends"
# A client that already has a group makes the driver create and map nothing when it submits a job.
keep_groups 2 --job --priority high
need inject protm-endless
panthor protected-job >/run/endless 2>&1 &
check 'the firmware enters protected mode' wait_until 5 is_count 1 firmware_says protected-mode
sleep 0.2
check 'the firmware stays in protected mode while no other group has work' is "$(firmware_says protected-mode)" 1
from=$(now_ms)
release_groups
check 'high jobs of a client that had its groups before take at most 300 ms longer than without the region' at_most $(($(now_ms) - from)) $most
check 'these jobs are complete' is "$(groups_said)" 'groups 2, jobs 2/2, jobs 2/2, destroyed 2/2'
for priority in real-time high medium; do
	took=$(jobs_at $priority)
	say "10 $priority jobs take $took ms"
	check "10 $priority jobs take at most 300 ms longer while a protected region never ends" at_most "$took" $most
done
check 'the firmware enters protected mode again after the jobs' wait_until 5 is_count 1 firmware_says protected-mode

say 'a group of a higher priority always has work'
panthor job --count 100000 --priority high >/run/busy 2>&1 &
BUSY=$!
entries=$(model protected-entries)
more_entries() { at_least "$(model protected-entries)" $((entries + 5)); }
check 'the firmware enters protected mode while a group of a higher priority has work' wait_until 5 more_entries
jobs=$(model jobs)
sleep 0.3
check 'the group of the higher priority runs at least 10 jobs in 300 ms' at_least "$(($(model jobs) - jobs))" 10
kill $BUSY
wait $BUSY

# The job has a timeout of 5 s in protected mode: the registers are polled less often meanwhile.
need protheap-guest write /sys/module/csfmodel/parameters/period_us 1000
wait
need protheap-guest write /sys/module/csfmodel/parameters/period_us 50
check 'the job whose protected region never ends times out' like "$(cat /run/endless)" 'protected-jobs 0/1*timedout*'
need inject protm-ends
check 'a protected job runs afterwards' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'panthor has not reset the GPU' is "$(model boots)" 1
check 'the firmware leaves protected mode as often as it enters it' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'the bus denies no access' is "$(model denied) $(model protected-faults)" '0 0'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
