# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with bind = "demand", OP-TEE protects its pool for the first protected group, and the pool returns to the kernel after the last one
# source: kernel, handed
# tee: dynamic-8m
# limit: 90

POOL=8192
# The returned pool is free again, except for memory that the kernel itself has moved to CMA meanwhile.
is_lent() { at_most "$(cma_free)" $((before - POOL)); }
is_returned() { at_least "$(cma_free)" $((before - 512)) && is_zero given_out; }

{ prefer protected,secure-video && echo 'bind = "demand"'; } | policy radxa,rock-5b
load_model
load_tee
load_protheap
before=$(cma_free)
run_binder
check 'the binder exits at once, and neither holds nor binds' is "$BINDER_STATUS $(attr state)" '0 on-demand'
check 'state.json reports state unprotected and reason on-demand' ends unprotected on-demand
load_panthor
check 'the GPU probes without protected memory' is "$(driver) $(firmware_says protected-section)" 'panthor none'
protected_memory() { panthor query | sed -n 's/^protected-memory //p'; }
check 'the driver reports that protected memory will be available' is "$(protected_memory)" yes
check 'without a daemon, a protected group is refused' is "$(panthor group --protected 2>&1)" 'groups 0 EOPNOTSUPP'
start_daemon
check 'a daemon that starts does not bind' wait_until 5 ends unprotected on-demand
keep_groups 1 --job
check 'an ordinary group is no demand' is "$(attr state)" on-demand
release_groups
check 'before the first demand, the pool belongs to the kernel' is_returned

for round in first second; do
	boots=$(model boots)
	keep_groups 2 --protected
	check "$round demand: the heap is bound" is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
	check "$round demand: state.json reports state in-use" wait_until 5 ends in-use ''
	check "$round demand: the firmware has booted again with its protected section" is \
		"$(($(model boots) - boots)) $(firmware_says protected-section)" '1 carve-out'
	check "$round demand: the pool is protected" is_lent
	check "$round demand: protected jobs run" is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
	check "$round demand: ordinary jobs run" is "$(panthor job --count 3)" 'jobs 3/3'
	# Longer than the idle timeout.
	sleep 12
	check "$round demand: the heap stays bound while a group exists" is "$(attr state)" in-use
	release_groups
	sleep 5
	check "$round demand: the heap stays bound for a while after the last group" is "$(attr state)" in-use
	check "$round demand: the daemon withdraws the idle binding" wait_until 10 ends unprotected on-demand
	check "$round demand: the GPU driver has released the firmware buffer" is \
		"$(attr state) $(buffers)" 'on-demand 0'
	check "$round demand: the pool belongs to the kernel again" wait_until 5 is_returned
done

policy radxa,rock-5b <<-EOF
	$(prefer protected,secure-video)
EOF
reload_daemon
check 'the daemon binds without a demand when the policy binds at boot' wait_until 5 holds "$CONFIG/$GPU/state" in-use
check 'the simulated GPU reports no violation' is "$(check_model)" fine
stop_daemon
check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0
all_comes_back
