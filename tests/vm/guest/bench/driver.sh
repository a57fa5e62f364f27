# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures a binding by hand from each source: the time in user space until the commit has returned, and the time from
# the start of the commit to the start of the deferred probe of the GPU.

. /scenarios/bench/common.sh
HEAP=protected,secure-video
load_tee
load_gpu
need unbind_gpu

round() {
	fresh
	need mkdir "$CONFIG/$GPU"
	need store source "$1"
	need store hold_ms 10000
	# The probe is deferred, and repeated after the commit.
	bind_gpu >/dev/null
	need absent "$DEVICES/$GPU/driver"
	need store heap $HEAP
	need store firmware_bytes_wanted 262144
	need store suspend_bytes_wanted 65536
	need store suspend_count 16
	if [ "$1" = handed ]; then
		need bench-tool run "set-up-$1" hand-over "$GPU" $HEAP 262144 65536 16
		echo "$seen"
	fi
	need bench-tool write "commit-$1" "$CONFIG/$GPU/commit" bind
	echo "$seen" | grep figure
	began=$(echo "$seen" | sed -n 's/^began //p')
	need wait_until 2 gpu_probed
	echo "figure probed-$1 $(($(gpu probed_at_us) * 1000 - began))"
	need is "$(attr state) $(attr suspend_free)" 'in-use 16'
	need unbind_gpu
}
for _ in $(seq $ROUNDS); do
	round handed
	round kernel
done
