# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the TEE goes, which waits for the last of its buffers: the daemon gives them back, and binds again when it is back
# source: kernel, handed
# tee: sim, static, dynamic-8m
# limit: 60

HEAP=protected,secure-video
# The work item that unregisters it, as long as it waits.
waits() { grep -qs tee_device_unregister /proc/[0-9]*/stack; }
ended() { ! waits && fails_with EINVAL protheap-guest alloc $HEAP 4096; }
alive() { protheap-guest alloc $HEAP 4096; }

load_tee
load_protheap
run_binder
need is "$(attr state)" bound
drop_tee
if [ "$TEE" = sim ]; then
	check 'without a daemon the TEE waits for the buffers of the binding' wait_until 2 waits
	sleep 1
	check 'as long as there are any' waits
	check 'its device has gone' absent /sys/class/tee/tee0
	check 'and yet its heap gives memory' alive
fi
# A driver that is unbound has the module withdraw the binding first.
need rmdir "$CONFIG/$GPU"
check 'taking the binding away frees it' wait_until 2 ended
restore_tee
need wait_until 2 alive

start_daemon
check 'the daemon binds' wait_until 2 holds "$CONFIG/$GPU/state" bound
drop_tee
check 'with it the TEE goes' wait_until 2 ended
check 'the binding was taken away' absent "$CONFIG/$GPU"
check 'state.json says why' wait_until 2 ends failed heap-dead
check 'and when' at_least "$(step_us withdrawn)" 1
check 'nothing is left of it' is "$(buffers)" 0
restore_tee
check 'when the TEE is back, the GPU is bound again' wait_until 2 holds "$CONFIG/$GPU/state" bound
check 'state.json says so' wait_until 2 ends bound ''

load_gpu
need create_group
need is "$(attr state) $(buffers)" 'in-use 17'
drop_tee
check 'of a binding in use, what nobody uses goes' wait_until 2 is_count 2 buffers
check 'and the TEE waits for the rest' waits
check 'the GPU keeps what it has' is "$(gpu bound) $(gpu groups)" '1 1'
check 'the daemon does not bind to a heap that is going' absent "$CONFIG/$GPU"
need modprobe -r csfgpu
check 'when the GPU lets go, the TEE goes' wait_until 2 ended
load_gpu
check 'the GPU can do without' is "$(gpu bound)" 0
check 'state.json says why' wait_until 2 ends failed heap-dead
restore_tee
check 'when the TEE is back, the GPU gets its buffers' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'late' is "$(gpu late_bounds) $(gpu firmware_bytes)" '1 262144'

stop_daemon KILL
drop_tee
need wait_until 2 waits
start_daemon
check 'a daemon that starts meanwhile takes the binding away' wait_until 2 is_count 1 buffers
need modprobe -r csfgpu
check 'and the TEE goes' wait_until 2 ended
restore_tee
need wait_until 2 holds "$CONFIG/$GPU/state" bound
if [ "$TEE" = sim ]; then
	protheap-guest write /sys/bus/platform/drivers/simtee/unbind firmware:optee &
	check 'its driver can be unbound by hand' wait_until 2 absent /sys/kernel/debug/simtee
else
	drop_tee
fi
check 'which does not hang' wait_until 2 ended
check 'state.json says so' wait_until 2 ends failed heap-dead
if [ "$TEE" = sim ]; then
	need protheap-guest write /sys/bus/platform/drivers/simtee/bind firmware:optee
else
	restore_tee
fi
check 'and bound again' wait_until 2 holds "$CONFIG/$GPU/state" bound
stop_daemon
# A driver that is unbound is one that has no device.
check 'protheapd logs no other complaint' empty complaints 'provider firmware:optee failed to probe: .*, or was unbound'
