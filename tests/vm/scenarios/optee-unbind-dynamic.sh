# SPDX-License-Identifier: MIT OR Apache-2.0
# about: unbinding the OP-TEE driver ends while its dynamic pool is in use; with the driver of Linux, it ends only with protheap.ko
# tee: dynamic
# leave: sysrq
# limit: 60

# An unbind that waits is a task in the kernel.
unbinding() { grep -qs tee_device_unregister /proc/[0-9]*/stack; }
unbound() { ! unbinding && absent "$OPTEE_DRIVER/$OPTEE"; }

# unbinds BUILD: unbinds that build of the driver while a binding without a GPU driver exists
unbinds() {
	run_binder
	need is "$(attr state)" bound
	drop_tee
	check "$1: the unbind ends, because the module releases the buffers" wait_until 5 unbound
	check "$1: the module logs that it releases the buffers" like "$(dmesg | tail -n 20)" '*protheap: releasing protected buffers before OP-TEE*'
	check "$1: no buffer is left after the unbind" is "$(buffers)" 0
	need rmdir "$CONFIG/$GPU"
	restore_tee
	check "$1: the heap serves allocations when the driver is bound again" protheap-guest alloc protected,secure-video 4096
}
# holds_a_buffer: starts a program that holds a buffer for three seconds
holds_a_buffer() {
	protheap-guest alloc protected,secure-video 65536 --hold 3 >/run/held &
	need wait_until 2 has_lines /run/held 1
}

load_tee
load_protheap
unbinds patched
holds_a_buffer
drop_tee
check 'patched: the unbind waits for the buffer of a program' wait_until 2 unbinding
check 'patched: the unbind ends when the program frees its buffer' wait_until 10 unbound
restore_tee
start_daemon
need wait_until 5 holds "$CONFIG/$GPU/state" bound
drop_tee
check 'patched: the unbind ends while the daemon runs' wait_until 5 unbound
restore_tee
check 'patched: the daemon binds when the driver is bound again' wait_until 5 holds "$CONFIG/$GPU/state" bound
stop_daemon
need rmdir "$CONFIG/$GPU"

need unload_tee
use_optee unmodified
load_tee
unbinds unmodified
# The driver of Linux then locks a mutex that it has destroyed: the debug kernel reports that.
if [ ! -e /sys/kernel/debug/kmemleak ]; then
	holds_a_buffer
	drop_tee
	need wait_until 2 unbinding
	check 'unmodified: the program frees its buffer' wait_until 10 is_zero buffers
	# The unbind hangs even then, and powering off would hang behind it.
	check 'unmodified: the unbind never ends' fails wait_until 5 unbound
fi
