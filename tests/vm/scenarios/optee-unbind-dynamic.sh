# SPDX-License-Identifier: MIT OR Apache-2.0
# about: unbinding OP-TEE's driver ends although its dynamic pool is in use; as Linux has it, it ends only with protheap.ko
# tee: dynamic
# leave: sysrq
# limit: 60

# An unbind that waits is a task in the kernel.
unbinding() { grep -qs tee_device_unregister /proc/[0-9]*/stack; }
unbound() { ! unbinding && absent "$OPTEE_DRIVER/$OPTEE"; }

# unbinds BUILD: with a binding that no GPU driver uses
unbinds() {
	run_binder
	need is "$(attr state)" bound
	drop_tee
	check "$1: unbind ends by itself, because the module releases the buffers" wait_until 5 unbound
	check "$1: module says so" like "$(dmesg | tail -n 20)" '*protheap: releasing protected buffers before OP-TEE*'
	check "$1: no buffer is left" is "$(buffers)" 0
	need rmdir "$CONFIG/$GPU"
	restore_tee
	check "$1: heap gives memory when the driver is back" protheap-guest alloc protected,secure-video 4096
}
# holds_a_buffer: another program does
holds_a_buffer() {
	protheap-guest alloc protected,secure-video 65536 --hold 3 >/run/held &
	need wait_until 2 has_lines /run/held 1
}

load_tee
load_protheap
unbinds patched
holds_a_buffer
drop_tee
check 'patched: unbind waits for the buffer of a program' wait_until 2 unbinding
check 'patched: and ends when that is freed' wait_until 10 unbound
restore_tee
start_daemon
need wait_until 5 holds "$CONFIG/$GPU/state" bound
drop_tee
check 'patched: with the daemon unbind ends too' wait_until 5 unbound
restore_tee
check 'patched: the daemon binds again' wait_until 5 holds "$CONFIG/$GPU/state" bound
stop_daemon
need rmdir "$CONFIG/$GPU"

need unload_tee
use_optee unmodified
load_tee
unbinds unmodified
holds_a_buffer
drop_tee
need wait_until 2 unbinding
check 'unmodified: the buffer of a program is freed' wait_until 10 is_zero buffers
# Also after that. Powering off would hang behind it.
check 'unmodified: and unbind never ends' fails wait_until 5 unbound
