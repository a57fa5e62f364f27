# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon handles 10,000 kernel events at once, and finds the changes among them even when events are lost
# limit: 90

# burst NUMBER: sends that many events, each of which could announce a change
burst() {
	i=0
	while [ $i -lt "$1" ]; do
		echo bind >"$DEVICES/$GPU/uevent"
		echo change >/sys/class/misc/protheap/uevent
		echo add >/sys/class/dma_heap/system/uevent
		echo add >"$DEVICES/firmware:optee/uevent"
		echo change >"$DEVICES/firmware:optee/uevent"
		i=$((i + 5))
	done
}
# lost: prints the number of events that the kernel dropped for the daemon
lost() { awk -v pid="$DAEMON" '$2 == 15 && $3 == pid { print $9 }' /proc/net/netlink; }
has_settled() { before=$(daemon_ms); sleep 0.5; is "$(daemon_ms)" "$before"; }
gone() { ends failed heap-dead; }

load_protheap
load_gpu
start_daemon
need wait_until 10 has_settled
small=$(daemon_kb VmHWM)
begin=$(daemon_ms)
burst 10000
check 'the daemon is idle again after 10,000 events' wait_until 20 has_settled
say "$(($(daemon_ms) - begin)) ms, $(daemon_kb VmHWM) KiB after $small"
check '10,000 events take the daemon at most 10 s of processor time' at_most $(($(daemon_ms) - begin)) $((10000 * SLOW))
check '10,000 events add at most 2 MiB to the memory of the daemon' at_most "$(daemon_kb VmHWM)" $((small + 2048))

burst 5000
load_tee
burst 5000
check 'the daemon binds a heap that appears among 10,000 events' wait_until 20 holds "$CONFIG/$GPU/state" in-use
check 'the daemon binds the heap once' is "$(attr suspend_free) $(buffers)" '16 17'

need modprobe -r csfgpu
need wait_until 20 ends bound ''
need kill -STOP "$DAEMON"
burst 5000
drop_tee
burst 5000
check 'the kernel drops events while the daemon is stopped' at_least "$(lost)" 1
need kill -CONT "$DAEMON"
check 'the daemon finds that the TEE is gone, whose event was dropped' wait_until 20 gone
check 'the daemon frees the buffers of the TEE that is gone' wait_until 5 is_zero buffers
need kill -STOP "$DAEMON"
missed=$(lost)
burst 5000
restore_tee
burst 5000
check 'the kernel drops more events while the daemon is stopped again' at_least "$(lost)" $((missed + 1))
need kill -CONT "$DAEMON"
check 'the daemon finds that the TEE is back, whose event was dropped' wait_until 20 holds "$CONFIG/$GPU/state" bound
check 'the daemon is idle again after events were dropped' wait_until 20 has_settled
check 'all events add at most 4 MiB to the memory of the daemon' at_most "$(daemon_kb VmHWM)" $((small + 4096))
stop_daemon
check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0
