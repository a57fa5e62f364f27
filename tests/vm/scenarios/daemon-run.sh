# SPDX-License-Identifier: MIT OR Apache-2.0
# about: /run cannot be written, is full, or loses what was in it: all is bound as ever, and the daemon complains once
# source: kernel, handed
# tee: sim, static
# limit: 60

RUN=/run/protheap
CANNOT=cannot
DAEMON_LOG=/tmp/daemon.log

# binds WHAT: nothing is bound; the binder binds, then the daemon binds what was taken away from it, and again
binds() {
	rm -f $DAEMON_LOG*
	check "$1: the binder ends well" protheap-bind
	check 'it has bound' is "$(attr state)" bound
	need rmdir "$CONFIG/$GPU"
	start_daemon
	check 'the daemon binds' wait_until 5 holds "$CONFIG/$GPU/state" bound
	drop_tee
	need wait_until 5 absent "$CONFIG/$GPU"
	restore_tee
	check 'again' wait_until 5 holds "$CONFIG/$GPU/state" bound
	check "$1: protheapd complains of no path twice" empty repeated_paths
}
repeated_paths() { has_lines $DAEMON_LOG 1 && grep -o "/run[^:]*: ${CANNOT}[^:]*" $DAEMON_LOG | sort | uniq -d; }
# ends_well: also the binding goes
ends_well() {
	stop_daemon
	check 'it ends well' is "$DAEMON_STATUS" 0
	need rmdir "$CONFIG/$GPU"
}
is_bound() { is "$(state_of /gpus/0/state)" bound; }

load_tee
load_protheap
need mount -o remount,ro /run
binds 'nothing can be made in /run'
check '/run is read-only: protheapd complains of its directory once' is "$(log_count "$RUN: $CANNOT be made")" 1
check '/run is read-only: the complaint is among those that other scenarios look for' like "$(complaints)" "*$RUN: $CANNOT be made*"
need mount -o remount,rw /run
drop_tee
check 'it can: the next state is written' wait_until 5 ends failed heap-dead
restore_tee
need wait_until 5 is_bound
ends_well

need mount -t tmpfs -o ro none $RUN
binds 'nothing can be written in /run/protheap'
check '/run/protheap is read-only: protheapd complains of state.json once' is "$(log_count "$RUN/state.json: $CANNOT be written")" 1
need umount $RUN
drop_tee
check 'it can: the next state is written' wait_until 5 ends failed heap-dead
restore_tee
need wait_until 5 is_bound
ends_well

need mount -t tmpfs -o size=16k none $RUN
dd if=/dev/zero of=$RUN/full bs=1k 2>/dev/null
binds 'there is no room in /run'
check '/run/protheap is full: protheapd complains of state.json once' is "$(log_count "$RUN/state.json: $CANNOT be written")" 1
rm $RUN/full
drop_tee
check 'there is: the next state is written' wait_until 5 ends failed heap-dead
restore_tee
need wait_until 5 is_bound
check 'nothing else is left there' is "$(ls -A $RUN | tr '\n' ' ')" 'heaps lock state.json '
ends_well
need umount $RUN

binds 'there is nothing wrong with /run'
rm -r $RUN
check 'what was taken away is made anew' wait_until 5 is_bound
check 'with its links' is "$(readlink $RUN/heaps/secure-video)" /dev/dma_heap/protected,secure-video
check 'a removed /run/protheap: protheapd complains of no path' empty matching $DAEMON_LOG "$CANNOT"
ends_well
