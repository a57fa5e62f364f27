# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU never stays deferred, however its hold ends and whenever it probes
# source: handed
# smp: 4
# clock: host
# why: the end of a hold and a probe race only on processors that run in parallel
# limit: 60

DRIVER=/sys/bus/platform/drivers/csfgpu
HEAP=protected,secure-video
load_tee
load_gpu
need protheap-guest write $DRIVER/unbind "$GPU"
# The hold is 60 times this, in milliseconds.
UNIT=$SLOW
# end_hold HOW: ends the hold by that word; `timer` does nothing
end_hold() {
	case $1 in
	none | bind) echo "$1" >"$CONFIG/$GPU/commit" ;;
	rmdir) rmdir "$CONFIG/$GPU" ;;
	esac
}
# round HOW END PROBE: holds the GPU, ends the hold after END units, probes after PROBE units, and succeeds if the GPU
# has a driver in the end. The module is loaded again for each hold, because a device is held only once.
round() {
	load_protheap
	need mkdir "$CONFIG/$GPU"
	need hand_over firmware $HEAP 262144
	need store hold_ms $((60 * UNIT))
	(usleep $(($2 * 1000 * UNIT)) && end_hold "$1") >/dev/null 2>&1 &
	ender=$!
	(usleep $(($3 * 1000 * UNIT)) && echo "$GPU" >$DRIVER/bind || echo "$1" >>/run/deferred) 2>/dev/null &
	wait $!
	wait $ender
	wait_until 3 gpu_probed >/dev/null || return 1
	echo "$GPU" >$DRIVER/unbind
	[ ! -e "$CONFIG/$GPU" ] || rmdir "$CONFIG/$GPU"
	modprobe -r protheap
}
# deferred HOW: prints how many probes came before the end of their hold
deferred() { grep -c "$1" /run/deferred; }
: >/run/deferred
for how in timer none bind rmdir; do
	lost=''
	# On a busy host, a process may start after a short hold has ended.
	for UNIT in $SLOW $((2 * SLOW)) $((8 * SLOW)) $((32 * SLOW)); do
		for end in 0 20 40; do
			for probe in 0 10 20 30 40 50 60; do
				round $how $end $probe || { lost="$lost $end/$probe"; break 3; }
			done
		done
		[ "$(deferred $how)" -lt 3 ] || break
	done
	check "the GPU always probes when the hold ends by $how" is "${lost:-none}" none
	check 'at least three probes are deferred by a hold' at_least "$(deferred $how)" 3
	[ -z "$lost" ] || exit
done
check 'no dma-buf leaks' wait_until 2 is_zero buffers
