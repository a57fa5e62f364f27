# SPDX-License-Identifier: MIT OR Apache-2.0
# about: over fast and slow reset, whatever caused it, the protected section stays where it is, and works
# source: kernel, handed
# tee: sim, static
# limit: 60

bound_panthor 4
at=$(firmware_says protected-section-at)
all=$(given_out)
check 'protected jobs run' is "$(panthor protected-job)" 'protected-jobs 1/1'

# is_well CAUSE: after it
is_well() {
	# Between them the GPU sleeps, for which their group is suspended.
	check "after $1: jobs run" is "$(panthor job --count 3 --gap 300)" 'jobs 3/3'
	check "after $1: protected ones too" is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
	check "after $1: the section is the same" is "$(firmware_says protected-section-at)" "$at"
	check "after $1: nothing was allocated for that" is "$(given_out)" "$all"
}

boots=$(model boots)
check 'the GPU falls asleep' wait_until 5 gpu_sleeps
check 'a fast reset does not boot the firmware' is "$(panthor job)" 'jobs 1/1'
is_well 'a fast reset'
check 'it was one' is "$(model boots)" "$boots"
check 'more than one' at_least "$(model resumes)" 1

# fault NAME: injected under a group that runs
fault() {
	say "$1"
	keep_awake
	keep_groups 1 --job
	need inject "$1"
	check "$1: the firmware boots again" wait_until 20 booted_since "$boots"
	boots=$(model boots)
	release_groups
	let_sleep
	is_well "$1"
}
boots=$(model boots)
fault fatal
fault hang
need wait_until 5 gpu_sleeps
boots=$(model boots)
need inject halt-fails
check 'the GPU falls asleep again' is "$(panthor job)" 'jobs 1/1'
need wait_until 10 gpu_sleeps
check 'a halt that fails is followed by a slow reset' is "$(panthor job)" 'jobs 1/1'
check 'which boots the firmware' booted_since "$boots"
is_well 'a slow reset'
need inject gpu-fault
is_well 'a GPU fault'
check 'the section never moved' is "$(model section-moved)" 0
check 'every group that was resumed had the state it was suspended with' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the model has nothing to complain of' is "$(check_model)" fine
