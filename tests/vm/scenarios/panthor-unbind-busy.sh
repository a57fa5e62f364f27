# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor is unbound and bound while programs use it: they fail, and all comes back
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
check 'no process failed' is $ended 0
check 'there were jobs' at_least "$(count job)" 20
check 'none did what it should not' is "$(count job-wrong)" 0
check 'every suspend buffer is free' wait_until 10 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the section is where it was' is "$(firmware_says protected-section-at)" "$at"
check 'the GPU is well' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the model has nothing to complain of' is "$(check_model)" fine
all_comes_back
