# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protected jobs run with each variant of the firmware's handshake for protected mode
# tee: sim, static
# limit: 120

bound_panthor 8
parameter() { echo "$2" >"/sys/module/csfmodel/parameters/$1" && is "$(cat "/sys/module/csfmodel/parameters/$1")" "$2"; }

# variant ENTER_MS HIGHEST_SLOT REPEATS
variant() {
	need parameter protected_enter_ms "$1"
	need parameter protected_highest_slot "$2"
	need parameter protected_repeats "$3"
	name="enter_ms=$1 highest_slot=$2 repeats=$3"
	entries=$(model protected-entries)
	check "$name: a protected client runs all jobs" is "$(panthor protected-job --count 5)" 'protected-jobs 5/5'
	# With this fault, the first entry lasts until it is terminated, and its job needs another one.
	need inject protm-stuck
	check "$name: ordinary and protected clients run all jobs" is "$(panthor clients 2 --count 5 | sort -u | tr '\n' ' ')" 'jobs 5/5 protected-jobs 5/5 '
	panthor job --count 100000 --priority high >/run/busy 2>&1 &
	busy=$!
	check "$name: protected jobs run while a group of a higher priority has work" is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
	kill $busy
	wait $busy
	check "$name: more protected groups than slots run all jobs" is "$(panthor oversubscribe --groups 4 --protected-groups 6 --count 2 --pass 500)" 'jobs 20/20'
	check "$name: the firmware enters protected mode" at_least "$(model protected-entries)" $((entries + 20))
}

# All other scenarios have `variant 0 N Y`.
variant 0 Y Y
variant 0 N N
variant 20 Y N
check 'the firmware leaves protected mode as often as it enters it' equal_nonzero "$(model protected-exits)" "$(model protected-entries)"
check 'every entry to protected mode serves a group' is "$(model protected-unserved)" 0
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the firmware booted once' is "$(model boots)" 1
check 'the bus denies no access' is "$(model denied) $(model protected-faults)" '0 0'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
