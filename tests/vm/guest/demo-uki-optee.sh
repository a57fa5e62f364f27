# SPDX-License-Identifier: MIT OR Apache-2.0
#
# One row of `demo --uki --optee`: the result of the kernel, initrd and command line of the signed image for the OP-TEE
# of this machine.

taken_over() { like "$(state_of /written_by)" 'protheapd *'; }
need wait_until 30 taken_over
need wait_until 30 gpu_probed
check 'the signed command line locks the kernel down' like "$(cat /sys/kernel/security/lockdown)" '*\[integrity\]*'
if [ "$(attr state 2>/dev/null)" = in-use ]; then
	bound=$(kernel_us 'protheap: bound to')
	check 'the initrd binds the GPU' at_least "$(unit_us initrd-switch-root.service starting initrd)" "$bound"
	check 'panthor probes after the binding was committed' at_least "$(kernel_us "panthor $GPU")" "$bound"
	keep_groups 1 --protected --job
	check 'a protected group has its suspend buffer' is "$(attr suspend_in_use)" 1
	check 'the simulated GPU reports no violation' is "$(check_model)" fine
	release_groups
fi
protheap-guest report "$GPU"
