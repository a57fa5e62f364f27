# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon is killed before each change that it makes, and the next daemon always reaches the same state
# source: kernel, handed
# limit: 300

HEAP=protected,secure-video

# The GPU has probed without a binding; the daemon is to make one.
late_binding() {
	release_all
	rm -rf /run/protheap
	need bind_gpu
}
# The firmware requests larger suspend buffers than the binding has; the daemon is to hand them over.
supply() {
	release_all
	rm -rf /run/protheap
	make_binding $HEAP 65536 2
	need bind_gpu
	need is "$(attr suspend_wanted)" 2
}
# done_with BYTES: the binding is complete, with suspend buffers of that size
done_with() {
	is "$(attr state) $(gpu bound) $(attr suspend_bytes) $(attr suspend_free) $(state_of /gpus/0/state)" \
		"in-use 1 $1 2 in-use" && is_zero attr suspend_wanted
}
killed_or_done() { has_lines /run/killed 1 || done_with "$1"; }
is_whole() { [ ! -e $STATE ] || is "$(state_of /schema)" 1; }

# kill_everywhere BEGIN BYTES: runs BEGIN and kills the daemon before its first change, then its second, and so on
kill_everywhere() {
	: >/run/faults
	number=1
	while :; do
		$1
		rm -f /run/killed
		protheap-guest kill-at $number protheapd >/run/killed 2>>$DAEMON_LOG &
		killer=$!
		need wait_until 20 killed_or_done "$2"
		# The binding can be complete before the daemon has written its state.
		if ! wait_until 2 has_lines /run/killed 1 >/dev/null; then
			# The daemon ends with its tracer.
			kill -KILL $killer
			break
		fi
		wait $killer || fail "kill-at $number: $(cat /run/killed)"
		{
			is_whole
			start_daemon
			wait_until 10 done_with "$2"
			wait_until 5 is_count 3 buffers
			is_whole
		} >/run/fault 2>&1
		[ ! -s /run/fault ] || echo "$number, $(cat /run/killed): $(cat /run/fault)" >>/run/faults
		stop_daemon
		number=$((number + 1))
	done
	check "$1: the next daemon recovers from a kill before each of $((number - 1)) changes" empty cat /run/faults
	check 'the daemon makes at least 20 changes' at_least $number 20
}

policy radxa,rock-5b <<END
schema = 1
[gpu."arm,mali-valhall-csf"]
suspend = { count = 2 }
END
load_tee
load_protheap
load_gpu
kill_everywhere late_binding 65536
if [ "$(attr source)" = handed ]; then
	release_all
	need rmmod csfgpu
	load_gpu suspend_bytes=131072
	kill_everywhere supply 131072
fi
release_all
check 'the TEE has all memory back' wait_until 10 is_zero given_out
check 'no dma-buf is left' wait_until 10 is_zero buffers
