# SPDX-License-Identifier: MIT OR Apache-2.0
#
# One row of the demonstration on real firmware: what the shipped policies make of the OP-TEE that this machine has. The
# real panthor drives the modelled GPU.

load_model
load_protheap
load_tee
start_binder
load_panthor
need wait_until 20 gpu_probed
end_binder
if [ "$(attr state 2>/dev/null)" = in-use ]; then
	# Of its own protected memory a program would find none in a pool of 1 MiB: the binding has it all.
	keep_groups 1 --protected --job
	check 'a protected group has its suspend buffer' is "$(attr suspend_in_use)" 1
	check 'the model has nothing to complain of' is "$(check_model)" fine
	release_groups
fi
protheap-guest report "$GPU"
