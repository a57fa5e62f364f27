# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine without a GPU, the daemon exits after a minute, leaves no file, and logs no line twice
# overlay: no-gpu
# clock: instructions

ends_alone() {
	rm -f $DAEMON_LOG
	begin=$(now_ms)
	start_daemon
	wait "$DAEMON"
	check "$1: the daemon exits with status 0" is $? 0
	check 'the daemon waits a minute for clients' at_least $(($(now_ms) - begin)) 60000
	check 'the daemon exits 65 s after its start at the latest' at_most $(($(now_ms) - begin)) 65000
	check 'protheapd logs no unexpected line' empty complaints
	check 'protheapd logs only that there is no bus, and logs it once' is "$(wc -l <$DAEMON_LOG)" 1
	check 'the daemon leaves nothing in /run' absent /run/protheap
}

need is "${GPU:-none}" none
ends_alone 'no GPU'
load_protheap
load_tee
run_binder
check 'the binder exits with status 0 and prints nothing' is "$BINDER_STATUS $(cat /run/binder.log)" '0 '
check 'the binder leaves nothing in /run' absent /run/protheap
ends_alone 'no GPU, but a heap'
check 'the heap has no allocated memory' is_zero given_out
check 'the daemon makes no binding' empty find $CONFIG -mindepth 1 -type d
hide_heaps
ends_alone 'no GPU, and a kernel without heaps'
start_daemon
stop_daemon
check 'the daemon exits with status 0 when it is stopped within the minute' is "$DAEMON_STATUS" 0
