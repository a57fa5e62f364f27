# SPDX-License-Identifier: MIT OR Apache-2.0
# about: when panthor is unbound while programs use it, the programs fail, and all buffers are released
# tee: sim, static
# smp: 2
# clock: host
# why: unbind and clients race only on processors that run in parallel
# limit: 120

bound_panthor 8
at=$(firmware_says protected-section-at)
say "seed $SEED"
dmesg -n 5
panthor stress "$SEED" 30 6 "$GPU" >/run/counts 2>&1 &
stress=$!
for round in 1 2 3 4 5 6 7 8; do
	sleep 3
	need unbind_gpu panthor
	need bind_gpu panthor
done
wait $stress
ended=$?
dmesg -n 8
say "$(paste -s -d , /run/counts)"
check 'no process of the stress fails' is $ended 0
check 'the processes run at least 20 jobs' at_least "$(count job)" 20
check 'no job has a wrong result' is "$(count job-wrong)" 0
check 'no suspend buffer is in use' wait_until 10 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the protected section has not moved' is "$(firmware_says protected-section-at)" "$at"
check 'a protected job runs after panthor was bound again' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
all_comes_back
