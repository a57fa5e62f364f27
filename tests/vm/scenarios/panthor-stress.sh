# SPDX-License-Identifier: MIT OR Apache-2.0
# about: 12 processes do everything with the real panthor for a minute, and all comes back
# tee: sim, static
# smp: 2
# clock: host
# why: clients race only on processors that run in parallel
# limit: 240

bound_panthor 8
at=$(firmware_says protected-section-at)
say "seed $SEED"
dmesg -n 5
# Those of a low priority wait for long, on a slow machine.
export PANTHOR_TIMEOUT=$((60 * SLOW))
need panthor stress "$SEED" 60 12 "$GPU"
echo "$seen" >/run/counts
dmesg -n 8
say "$(paste -s -d , /run/counts)"
check 'there were jobs' at_least "$(count job)" 200
check 'each did what it had to' is "$(count job-wrong) $(count job-ETIME) $(count job-ETIMEDOUT)" '0 0 0'
check 'there were protected groups' at_least "$(count protected-group)" 10
check 'and too many of them at times' at_least "$(count protected-group-ENOBUFS)" 1
check 'protected mode was entered' at_least "$(model protected-entries)" 50
check 'groups were suspended and resumed' at_least "$(model group-resumes)" 50
check 'protected mode was left as often as it was entered' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'every group that was resumed had the state it was suspended with' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'nobody was denied' is "$(model denied) $(model protected-faults)" '0 0'
check 'the section is where it was' is "$(firmware_says protected-section-at) $(model section-moved)" "$at 0"
check 'every suspend buffer is free' wait_until 10 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the GPU is well' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the model has nothing to complain of' is "$(check_model)" fine
all_comes_back
if [ -e /sys/kernel/debug/kmemleak ]; then
	check 'kmemleak finds no leak' empty leaks
fi
