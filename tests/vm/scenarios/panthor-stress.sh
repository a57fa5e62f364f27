# SPDX-License-Identifier: MIT OR Apache-2.0
# about: 12 processes use the real panthor in every way for a minute, and no memory leaks
# tee: sim, static
# smp: 2
# clock: host
# why: clients race only on processors that run in parallel
# limit: 240

bound_panthor 8
at=$(firmware_says protected-section-at)
say "seed $SEED"
dmesg -n 5
# Jobs of a low priority wait for long on a slow machine.
export PANTHOR_TIMEOUT=$((60 * SLOW))
need panthor stress "$SEED" 60 12 "$GPU"
echo "$seen" >/run/counts
dmesg -n 8
say "$(paste -s -d , /run/counts)"
check 'the processes run at least 200 jobs' at_least "$(count job)" 200
check 'no job has a wrong result or times out' is "$(count job-wrong) $(count job-ETIME) $(count job-ETIMEDOUT)" '0 0 0'
check 'the processes make at least 10 protected groups' at_least "$(count protected-group)" 10
check 'panthor refuses protected groups at times' at_least "$(count protected-group-ENOBUFS)" 1
check 'the firmware enters protected mode' at_least "$(model protected-entries)" 50
check 'the firmware suspends and resumes groups' at_least "$(model group-resumes)" 50
check 'the firmware leaves protected mode as often as it enters it' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the bus denies no access' is "$(model denied) $(model protected-faults)" '0 0'
check 'the protected section has not moved' is "$(firmware_says protected-section-at) $(model section-moved)" "$at 0"
check 'no suspend buffer is in use' wait_until 10 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'a protected job runs after the stress' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
all_comes_back
if [ -e /sys/kernel/debug/kmemleak ]; then
	check 'kmemleak finds no leak' empty leaks
fi
