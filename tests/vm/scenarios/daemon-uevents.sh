# SPDX-License-Identifier: MIT OR Apache-2.0
# about: 10,000 events of the kernel at once, also such that most are lost: what happened among them is not missed
# limit: 90

# burst NUMBER: of events, which each could tell of something
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
# lost: how many events never reached the daemon
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
check 'after 10,000 events it rests' wait_until 20 has_settled
say "$(($(daemon_ms) - begin)) ms, $(daemon_kb VmHWM) KiB after $small"
check 'they took it little time' at_most $(($(daemon_ms) - begin)) $((10000 * SLOW))
check 'and no memory' at_most "$(daemon_kb VmHWM)" $((small + 2048))

burst 5000
load_tee
burst 5000
check 'a heap that comes among them is bound' wait_until 20 holds "$CONFIG/$GPU/state" in-use
check 'once' is "$(attr suspend_free) $(buffers)" '16 17'

need modprobe -r csfgpu
need wait_until 20 ends bound ''
need kill -STOP "$DAEMON"
burst 5000
drop_tee
burst 5000
check 'of events that came while it could not listen, some were lost' at_least "$(lost)" 1
need kill -CONT "$DAEMON"
check 'that the TEE has gone is not' wait_until 20 gone
check 'and it has what was bound' wait_until 5 is_zero buffers
need kill -STOP "$DAEMON"
missed=$(lost)
burst 5000
restore_tee
burst 5000
check 'more are lost' at_least "$(lost)" $((missed + 1))
need kill -CONT "$DAEMON"
check 'that it is back is not' wait_until 20 holds "$CONFIG/$GPU/state" bound
check 'it rests' wait_until 20 has_settled
check 'and has grown by nothing' at_most "$(daemon_kb VmHWM)" $((small + 4096))
stop_daemon
check 'it ends well' is "$DAEMON_STATUS" 0
