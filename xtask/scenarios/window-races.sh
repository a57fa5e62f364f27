# SPDX-License-Identifier: MIT OR Apache-2.0
# about: however a window ends, and whenever the GPU probes, the GPU never stays deferred
# smp: 4
# limit: 60

load_tee
TEE=protected,secure-video
# Ends the window of some 20 ms: on time, or by the word given.
end_window() {
	case $1 in
	none) store commit none ;;
	bind) store commit bind ;;
	rmdir) rmdir "$CONFIG/$GPU" ;;
	esac
}
# The module is loaded anew for each window, since a device gets one only.
round() {
	load_protheap
	need mkdir "$CONFIG/$GPU"
	need hand_over firmware $TEE 262144
	need store hold_ms 20
	(sleep "$2" && end_window "$1") >/dev/null 2>&1 &
	ender=$!
	(sleep "$3" && modprobe csfgpu) &
	prober=$!
	wait $ender
	wait $prober
	wait_until 3 gpu_probed >/dev/null || return 1
	modprobe -r csfgpu
	[ ! -e "$CONFIG/$GPU" ] || rmdir "$CONFIG/$GPU"
	modprobe -r protheap
}
for how in timer none bind rmdir; do
	lost=''
	for end in 0 0.01 0.02; do
		for probe in 0 0.01 0.02 0.025; do
			round $how $end $probe || lost="$lost $end/$probe"
		done
	done
	check "the GPU always probes, where the window ends by $how" is "$lost" ''
done
check 'nothing leaks' wait_until 2 is_zero buffers
check "the kernel has nothing to complain of" is "$(dmesg | grep -E "BUG|WARNING|Oops|refcount" | head -3)" ""
