# SPDX-License-Identifier: MIT OR Apache-2.0
# about: however a window ends, and whenever the GPU probes, the GPU never stays deferred
# source: handed
# smp: 4
# clock: host
# why: the end of a window and a probe race only on processors that run in parallel
# limit: 60

DRIVER=/sys/bus/platform/drivers/csfgpu
HEAP=protected,secure-video
load_tee
load_gpu
need protheap-guest write $DRIVER/unbind "$GPU"
# Milliseconds of a window are 60 times this.
UNIT=$SLOW
# Ends the window: on time, or by the word given.
end_window() {
	case $1 in
	none | bind) echo "$1" >"$CONFIG/$GPU/commit" ;;
	rmdir) rmdir "$CONFIG/$GPU" ;;
	esac
}
# round HOW END PROBE: whether the GPU, probed after that many ms, has a driver in the end. The module is loaded
# anew for each window, since a device gets one only.
round() {
	load_protheap
	need mkdir "$CONFIG/$GPU"
	need hand_over firmware $HEAP 262144
	need store hold_ms $((60 * UNIT))
	(usleep $(($2 * 1000 * UNIT)) && end_window "$1") >/dev/null 2>&1 &
	ender=$!
	(usleep $(($3 * 1000 * UNIT)) && echo "$GPU" >$DRIVER/bind || echo "$1" >>/run/deferred) 2>/dev/null &
	wait $!
	wait $ender
	wait_until 3 gpu_probed >/dev/null || return 1
	echo "$GPU" >$DRIVER/unbind
	[ ! -e "$CONFIG/$GPU" ] || rmdir "$CONFIG/$GPU"
	modprobe -r protheap
}
# deferred HOW: how often the probe came before the end of its window
deferred() { grep -c "$1" /run/deferred; }
: >/run/deferred
for how in timer none bind rmdir; do
	lost=''
	# On a busy host, a process starts later than a short window ends.
	for UNIT in $SLOW $((2 * SLOW)) $((8 * SLOW)) $((32 * SLOW)); do
		for end in 0 20 40; do
			for probe in 0 10 20 30 40 50 60; do
				round $how $end $probe || { lost="$lost $end/$probe"; break 3; }
			done
		done
		[ "$(deferred $how)" -lt 3 ] || break
	done
	check "the GPU always probes, where the window ends by $how" is "${lost:-none}" none
	check 'and it was deferred, now and then' at_least "$(deferred $how)" 3
	[ -z "$lost" ] || exit
done
check 'nothing leaks' wait_until 2 is_zero buffers
