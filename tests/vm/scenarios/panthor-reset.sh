# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the protected section keeps its place and works after fast and slow resets, whatever their cause
# source: kernel, handed
# tee: sim, static
# limit: 60

bound_panthor 4
at=$(firmware_says protected-section-at)
all=$(given_out)
check 'protected jobs run' is "$(panthor protected-job)" 'protected-jobs 1/1'

# is_well CAUSE: checks the GPU after that
is_well() {
	# Between them the GPU suspends, for which their group is suspended.
	check "after $1: ordinary jobs run" is "$(panthor job --count 3 --gap 300)" 'jobs 3/3'
	check "after $1: protected jobs run" is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
	check "after $1: the protected section has not moved" is "$(firmware_says protected-section-at)" "$at"
	check "after $1: no buffer was allocated" is "$(given_out)" "$all"
}

boots=$(model boots)
check 'the GPU suspends when it is idle' wait_until 5 gpu_sleeps
check 'an ordinary job resumes the GPU' is "$(panthor job)" 'jobs 1/1'
is_well 'a fast reset'
check 'a fast reset does not boot the firmware' is "$(model boots)" "$boots"
check 'the firmware resumes from at least one fast reset' at_least "$(model resumes)" 1

# fault NAME: injects that fault while a group runs
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
check 'an ordinary job runs before the halt fails' is "$(panthor job)" 'jobs 1/1'
need wait_until 10 gpu_sleeps
check 'an ordinary job runs after the halt has failed' is "$(panthor job)" 'jobs 1/1'
check 'the failed halt causes a slow reset, which boots the firmware' booted_since "$boots"
is_well 'a slow reset'
need inject gpu-fault
is_well 'a GPU fault'
check 'the protected section never moves' is "$(model section-moved)" 0
check 'the firmware resumes each group with the state that it saved' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the simulated GPU reports no violation' is "$(check_model)" fine
