# SPDX-License-Identifier: MIT OR Apache-2.0
# about: unbinding the TEE waits for its last buffer: the daemon frees the buffers, and binds again when the TEE is back
# source: kernel, handed
# tee: sim, static, dynamic-8m
# limit: 60

HEAP=protected,secure-video
# The work item that unregisters the TEE exists as long as it waits.
waits() { grep -qs tee_device_unregister /proc/[0-9]*/stack; }
ended() { ! waits && fails_with EINVAL protheap-guest alloc $HEAP 4096; }
# On the debug kernel, the module has failed to restore the binding before the daemon withdraws it: it is open then.
withdrawn() { absent "$CONFIG/$GPU" || { [ -e /sys/kernel/debug/kmemleak ] && is "$(attr state)" open; }; }
alive() { protheap-guest alloc $HEAP 4096; }

load_tee
load_protheap
run_binder
need is "$(attr state)" bound
drop_tee
if [ "$TEE" = sim ]; then
	check 'without a daemon, the TEE waits for the buffers of the binding' wait_until 2 waits
	sleep 1
	check 'the TEE waits as long as the binding has buffers' waits
	check 'the device of the TEE is gone while it waits' absent /sys/class/tee/tee0
	check 'the heap of the TEE still serves allocations while it waits' alive
fi
# When the driver is unbound, the module withdraws the binding first.
need rmdir "$CONFIG/$GPU"
check 'withdrawing the binding ends the wait of the TEE' wait_until 2 ended
restore_tee
need wait_until 2 alive

start_daemon
check 'the daemon binds the heap of the TEE that is back' wait_until 2 holds "$CONFIG/$GPU/state" bound
drop_tee
check 'with a daemon, the TEE does not wait' wait_until 2 ended
check 'the daemon has withdrawn the binding' wait_until 2 withdrawn
check 'state.json reports state failed and reason heap-dead' wait_until 2 ends failed heap-dead
check 'the timeline has the withdrawal' at_least "$(step_us withdrawn)" 1
check 'no buffer of the withdrawn binding is left' is "$(buffers)" 0
restore_tee
check 'the daemon binds again when the TEE is back' wait_until 2 holds "$CONFIG/$GPU/state" bound
check 'state.json reports state bound and no reason' wait_until 2 ends bound ''

load_gpu
need create_group
need is "$(attr state) $(buffers)" 'in-use 17'
drop_tee
check 'the daemon frees the unused buffers of a binding in use' wait_until 2 is_count 2 buffers
check 'the TEE waits for the buffers in use' waits
check 'the GPU keeps the buffers that it uses' is "$(gpu bound) $(gpu groups)" '1 1'
check 'the daemon does not bind a heap whose TEE is being removed' absent "$CONFIG/$GPU"
need modprobe -r csfgpu
check 'the TEE is removed when the GPU driver is unloaded' wait_until 2 ended
load_gpu
check 'the GPU driver probes without protected memory' is "$(gpu bound)" 0
check 'state.json reports the GPU without its TEE as heap-dead' wait_until 2 ends failed heap-dead
restore_tee
check 'the daemon binds the GPU when the TEE is back' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'the GPU driver gets a late binding' is "$(gpu late_bounds) $(gpu firmware_bytes)" '1 262144'

stop_daemon KILL
drop_tee
need wait_until 2 waits
start_daemon
check 'a daemon that starts while the TEE waits withdraws the binding' wait_until 2 is_count 1 buffers
need modprobe -r csfgpu
check 'the TEE is removed when the GPU driver is unloaded again' wait_until 2 ended
restore_tee
need wait_until 2 holds "$CONFIG/$GPU/state" bound
if [ "$TEE" = sim ]; then
	protheap-guest write /sys/bus/platform/drivers/simtee/unbind firmware:optee &
	check 'the driver of the TEE can be unbound in sysfs' wait_until 2 absent /sys/kernel/debug/simtee
else
	drop_tee
fi
check 'the unbind of the TEE ends' wait_until 2 ended
check 'state.json reports the GPU as heap-dead after the unbind' wait_until 2 ends failed heap-dead
if [ "$TEE" = sim ]; then
	need protheap-guest write /sys/bus/platform/drivers/simtee/bind firmware:optee
else
	restore_tee
fi
check 'the daemon binds when the driver of the TEE is bound again' wait_until 2 holds "$CONFIG/$GPU/state" bound
stop_daemon
# A driver that is unbound has no device.
check 'protheapd logs no unexpected line except the unbound provider' empty complaints 'provider firmware:optee failed to probe: .*, or was unbound'
