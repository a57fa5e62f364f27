# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor goes and comes back, as a driver and as a module: the same firmware buffer, and every byte back
# source: kernel, handed
# tee: sim, static
# limit: 60

bound_panthor 4
at=$(firmware_says protected-section-at)
all=$(given_out)

# again ROUND: after panthor has come back
again() {
	check "$1: panthor is back" wait_until 5 is_driver panthor
	check "$1: with the same firmware buffer" is "$(firmware_says protected-section-at)" "$at"
	check "$1: protected jobs run" is "$(panthor protected-job)" 'protected-jobs 1/1'
	check "$1: nothing was allocated for that" wait_until 5 is_count "$all" given_out
}
# gone ROUND: after panthor has gone
gone() {
	check "$1: the binding stays, with nothing in use" is "$(attr state) $(attr suspend_in_use)" 'bound 0'
	check "$1: protheap has every buffer back" is "$(counter in-use)" 0
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
check 'groups outlive the driver, with their buffers' is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
release_groups
check 'and give them back when they go' wait_until 5 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the model has nothing to complain of' is "$(check_model)" fine
need rmdir "$CONFIG/$GPU"
check 'withdrawn: the TEE has every byte' wait_until 5 is_zero given_out
check 'the modules can go' rmmod panthor protheap csfmodel
check 'and the TEE' unload_tee
