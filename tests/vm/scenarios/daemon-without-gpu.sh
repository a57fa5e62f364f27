# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a machine without a GPU: the daemon ends by itself after its minute, and nothing is left, nor said twice
# overlay: no-gpu
# clock: instructions

ends_alone() {
	rm -f $DAEMON_LOG
	begin=$(now_ms)
	start_daemon
	wait "$DAEMON"
	check "$1: the daemon ends well" is $? 0
	check 'when it had a minute to be asked' at_least $(($(now_ms) - begin)) 60000
	check 'and not much later' at_most $(($(now_ms) - begin)) 65000
	check 'protheapd logs no complaint' empty complaints
	check 'but that there is no bus, once' is "$(wc -l <$DAEMON_LOG)" 1
	check 'nothing is in /run' absent /run/protheap
}

need is "${GPU:-none}" none
ends_alone 'no GPU'
load_protheap
load_tee
run_binder
check 'the binder ends well' is "$BINDER_STATUS $(cat /run/binder.log)" '0 '
check 'it leaves nothing in /run either' absent /run/protheap
ends_alone 'no GPU, but a heap'
check 'the heap has given nothing' is_zero given_out
check 'the module has no binding' empty find $CONFIG -mindepth 1 -type d
hide_heaps
ends_alone 'no GPU, and a kernel without heaps'
start_daemon
stop_daemon
check 'it need not be waited for' is "$DAEMON_STATUS" 0
