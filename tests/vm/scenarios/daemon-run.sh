# SPDX-License-Identifier: MIT OR Apache-2.0
# about: when /run is read-only, full, or emptied, the binder and the daemon bind as usual, and the daemon logs each failure once
# source: kernel, handed
# tee: sim, static
# limit: 60

RUN=/run/protheap
FAILED='failed to'
DAEMON_LOG=/tmp/daemon.log

# binds WHAT: the binder binds; the daemon binds after the binding was withdrawn, and again after the TEE was gone
binds() {
	rm -f $DAEMON_LOG*
	check "$1: the binder exits with status 0" protheap-bind
	check 'the binder binds the heap' is "$(attr state)" bound
	need rmdir "$CONFIG/$GPU"
	start_daemon
	check 'the daemon binds after the binding was withdrawn' wait_until 5 holds "$CONFIG/$GPU/state" bound
	drop_tee
	need wait_until 5 absent "$CONFIG/$GPU"
	restore_tee
	check 'the daemon binds again when the TEE is back' wait_until 5 holds "$CONFIG/$GPU/state" bound
	check "$1: protheapd logs no path twice" empty repeated_paths
}
repeated_paths() { has_lines $DAEMON_LOG 1 && grep -o "/run[^:]*: ${FAILED}[^:]*" $DAEMON_LOG | sort | uniq -d; }
# ends_well: stops the daemon and removes the binding
ends_well() {
	stop_daemon
	check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0
	need rmdir "$CONFIG/$GPU"
}
is_bound() { is "$(state_of /gpus/0/state)" bound; }

load_tee
load_protheap
need mount -o remount,ro /run
binds '/run is read-only'
check '/run is read-only: protheapd logs once that it cannot make its directory' is "$(log_count "$RUN: $FAILED create or open")" 1
check '/run is read-only: the failure is among the lines that other scenarios refuse' like "$(complaints)" "*$RUN: $FAILED create or open*"
need mount -o remount,rw /run
drop_tee
check '/run is writable again: the daemon writes the next state' wait_until 5 ends failed heap-dead
restore_tee
need wait_until 5 is_bound
ends_well

need mount -t tmpfs -o ro none $RUN
binds '/run/protheap is read-only'
check '/run/protheap is read-only: protheapd logs once that it cannot write state.json' is "$(log_count "$RUN/state.json: $FAILED write")" 1
need umount $RUN
drop_tee
check '/run/protheap is writable again: the daemon writes the next state' wait_until 5 ends failed heap-dead
restore_tee
need wait_until 5 is_bound
ends_well

need mount -t tmpfs -o size=16k none $RUN
dd if=/dev/zero of=$RUN/full bs=1k 2>/dev/null
binds '/run/protheap is full'
check '/run/protheap is full: protheapd logs once that it cannot write state.json' is "$(log_count "$RUN/state.json: $FAILED write")" 1
rm $RUN/full
drop_tee
check '/run/protheap has space again: the daemon writes the next state' wait_until 5 ends failed heap-dead
restore_tee
need wait_until 5 is_bound
check 'the daemon leaves no temporary file in /run/protheap' is "$(ls -A $RUN | tr '\n' ' ')" 'heaps lock state.json '
ends_well
need umount $RUN

binds '/run is usable'
rm -r $RUN
check 'the daemon writes state.json again after /run/protheap was removed' wait_until 5 is_bound
check 'the daemon makes its links again after /run/protheap was removed' is "$(readlink $RUN/heaps/secure-video)" /dev/dma_heap/protected,secure-video
check '/run/protheap is removed: protheapd logs no failure' empty matching $DAEMON_LOG "/run[^:]*: $FAILED"
ends_well
