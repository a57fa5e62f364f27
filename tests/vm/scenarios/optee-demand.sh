# SPDX-License-Identifier: MIT OR Apache-2.0
# about: bound on demand: OP-TEE's pool is lent for the first protected group, and returned when there is none any more
# source: kernel, handed
# tee: dynamic-8m

POOL=8192
# A pool that is returned is free again, but for what the kernel itself has moved to CMA meanwhile.
is_lent() { at_most "$(cma_free)" $((before - POOL)); }
is_returned() { at_least "$(cma_free)" $((before - 512)) && is_zero given_out; }

{ prefer protected,secure-video && echo 'bind = "demand"'; } | policy radxa,rock-5b
load_model
load_tee
load_protheap
before=$(cma_free)
run_binder
check 'binder ends at once, and holds and binds nothing' is "$BINDER_STATUS $(attr state)" '0 on-demand'
check 'state.json says so' ends unprotected on-demand
load_panthor
check 'GPU probes without protected memory' is "$(driver) $(firmware_says protected-section)" 'panthor none'
protected_memory() { panthor query | sed -n 's/^protected-memory //p'; }
check 'programs are told that there will be some' is "$(protected_memory)" yes
check 'without a daemon a group is refused' is "$(panthor group --protected 2>&1)" 'groups 0 EOPNOTSUPP'
start_daemon
check 'daemon binds nothing either' wait_until 5 ends unprotected on-demand
keep_groups 1 --job
check 'nor for an ordinary group' is "$(attr state)" on-demand
release_groups
check 'before: pool is the kernel'"'"'s' is_returned

for round in first second; do
	boots=$(model boots)
	keep_groups 2 --protected
	check "$round demand: heap is bound" is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
	check "$round demand: state.json says so" wait_until 5 ends in-use ''
	check "$round demand: firmware has booted again, with its section" is \
		"$(($(model boots) - boots)) $(firmware_says protected-section)" '1 carve-out'
	check "$round demand: pool is lent" is_lent
	check "$round demand: protected jobs run" is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
	check "$round demand: ordinary ones as well" is "$(panthor job --count 3)" 'jobs 3/3'
	# Longer than it takes to be idle.
	sleep 12
	check "$round demand: while there is a group, heap stays bound" is "$(attr state)" in-use
	release_groups
	sleep 5
	check "$round demand: heap stays bound for a while" is "$(attr state)" in-use
	check "$round demand: then it is returned" wait_until 10 ends unprotected on-demand
	check "$round demand: GPU driver has released the firmware's buffer" is \
		"$(attr state) $(buffers)" 'on-demand 0'
	check "$round demand: pool is the kernel's again" wait_until 5 is_returned
done

policy radxa,rock-5b <<-EOF
	$(prefer protected,secure-video)
EOF
reload_daemon
check 'policy that binds at boot binds without a demand' wait_until 5 holds "$CONFIG/$GPU/state" in-use
check 'model has nothing to complain of' is "$(check_model)" fine
stop_daemon
check 'daemon ends well' is "$DAEMON_STATUS" 0
all_comes_back
