# SPDX-License-Identifier: MIT OR Apache-2.0
#
# One row of `demo --optee`: the result of the shipped policies for the OP-TEE of this machine. The real panthor drives
# the simulated GPU.

load_model
load_protheap
load_tee
start_binder
load_panthor
need wait_until 20 gpu_probed
end_binder
if [ "$(attr state 2>/dev/null)" = in-use ]; then
	# An ordinary job, because the binding uses all of a pool of 1 MiB, and a program could allocate no protected memory.
	keep_groups 1 --protected --job
	check 'a protected group has its suspend buffer' is "$(attr suspend_in_use)" 1
	check 'the simulated GPU reports no violation' is "$(check_model)" fine
	release_groups
fi
protheap-guest report "$GPU"
