# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor gets the same firmware buffer after it was unbound or unloaded, and every byte returns to the TEE
# source: kernel, handed
# tee: sim, static
# limit: 60

bound_panthor 4
at=$(firmware_says protected-section-at)
all=$(given_out)

# again ROUND: checks panthor after it was bound or loaded again
again() {
	check "$1: panthor probes" wait_until 5 is_driver panthor
	check "$1: panthor has the same firmware buffer" is "$(firmware_says protected-section-at)" "$at"
	check "$1: protected jobs run" is "$(panthor protected-job)" 'protected-jobs 1/1'
	check "$1: no buffer was allocated" wait_until 5 is_count "$all" given_out
}
# gone ROUND: checks the binding after panthor was unbound or unloaded
gone() {
	check "$1: the binding remains, with no buffer in use" is "$(attr state) $(attr suspend_in_use)" 'bound 0'
	check "$1: panthor has released every buffer" is "$(counter in-use)" 0
}
for round in 1 2 3; do
	need unbind_gpu panthor
	gone "unbound, $round"
	need bind_gpu panthor
	again "bound, $round"
done
for round in 1 2 3; do
	need rmmod panthor
	gone "unloaded, $round"
	load_panthor
	again "loaded, $round"
done

keep_groups 2 --protected --job
need unbind_gpu panthor
check 'groups outlive the driver with their suspend buffers' is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
release_groups
check 'the groups release their suspend buffers when they are destroyed' wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the simulated GPU reports no violation' is "$(check_model)" fine
need rmdir "$CONFIG/$GPU"
check 'the TEE has all memory back after the binding was withdrawn' wait_until 5 is_zero given_out
check 'panthor, protheap and csfmodel can be unloaded' rmmod panthor protheap csfmodel
check 'the TEE can be unloaded' unload_tee
