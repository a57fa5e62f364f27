# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon is killed in front of every change that it makes: the next one comes to the same end, with nothing lost
# source: kernel, handed
# limit: 300

HEAP=protected,secure-video

# The GPU has probed without a binding, which the daemon is to make.
late_binding() {
	release_all
	rm -rf /run/protheap
	need bind_gpu
}
# The GPU's firmware wants larger suspend buffers than its binding has, which the daemon is to hand over.
supply() {
	release_all
	rm -rf /run/protheap
	make_binding $HEAP 65536 2
	need bind_gpu
	need is "$(attr suspend_wanted)" 2
}
# done_with BYTES: of a suspend buffer
done_with() {
	is "$(attr state) $(gpu bound) $(attr suspend_bytes) $(attr suspend_free) $(state_of /gpus/0/state)" \
		"in-use 1 $1 2 in-use" && is_zero attr suspend_wanted
}
killed_or_done() { has_lines /run/killed 1 || done_with "$1"; }
is_whole() { [ ! -e $STATE ] || is "$(state_of /schema)" 1; }

# kill_everywhere BEGIN BYTES
kill_everywhere() {
	: >/run/faults
	number=1
	while :; do
		$1
		rm -f /run/killed
		protheap-guest kill-at $number protheapd >/run/killed 2>>$DAEMON_LOG &
		killer=$!
		need wait_until 20 killed_or_done "$2"
		# It can be done with the GPU before it has told all of it.
		if ! wait_until 2 has_lines /run/killed 1 >/dev/null; then
			# The daemon goes with it.
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
	check "$1: killed in front of $((number - 1)) changes, one after the other" empty cat /run/faults
	check 'of which there are many' at_least $number 20
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
check 'the TEE has every byte' wait_until 10 is_zero given_out
check 'there is no dma-buf' wait_until 10 is_zero buffers
