# SPDX-License-Identifier: MIT OR Apache-2.0
# about: when the firmware reports the size of a suspend buffer, the kernel keeps buffers that are large enough and replaces the others
# source: kernel, handed

# Where user space allocates, the kernel requests buffers from it.
meet() {
	if [ "$(attr source)" = handed ]; then
		check "the kernel requests $1 suspend buffers" is "$(attr suspend_wanted)" "$1"
		need hand_over suspend protected,secure-video "$2" --count "$1"
	fi
	check "the binding has $3 suspend buffers of at least $2 bytes" wait_until 2 is_count "$3" attr suspend_free
	check 'the kernel requests no further suspend buffer' is "$(attr suspend_wanted)" 0
}
load_tee
load_protheap
make_binding protected,secure-video 65536 3
load_gpu suspend_bytes=131072
check 'the binding adopts a larger size of suspend buffers' is "$(attr suspend_bytes)" 131072
check 'suspend_bytes_wanted still reads as written' is "$(attr suspend_bytes_wanted)" 65536
meet 3 131072 3
check 'the TEE has allocated only the larger buffers' wait_until 2 is_count $((262144 + 3 * 131072)) given_out
need create_group
need modprobe -r csfgpu
load_gpu suspend_bytes=32768
check 'the binding keeps its buffers when the size is smaller' is "$(attr suspend_bytes) $(attr suspend_free)" '32768 3'
check 'suspend_bytes_wanted does not depend on the driver' is "$(attr suspend_bytes_wanted)" 65536
check 'a group gets a buffer of the larger size' create_group
check 'no buffer is allocated for the smaller size' is "$(given_out)" $((262144 + 3 * 131072))
