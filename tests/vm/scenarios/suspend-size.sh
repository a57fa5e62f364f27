# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the firmware tells the size of a suspend buffer: what is large enough stays, the rest is replaced
# source: kernel, handed

# Where user space allocates, it is asked.
meet() {
	if [ "$(attr source)" = handed ]; then
		check "$1 wanted" is "$(attr suspend_wanted)" "$1"
		need hand_over suspend protected,secure-video "$2" --count "$1"
	fi
	check "there are $3 of $2 bytes or more" wait_until 2 is_count "$3" attr suspend_free
	check 'none is wanted then' is "$(attr suspend_wanted)" 0
}
load_tee
load_protheap
make_binding protected,secure-video 65536 3
load_gpu suspend_bytes=131072
check 'too small: they are let go' is "$(attr suspend_bytes)" 131072
meet 3 131072 3
check 'the TEE has given out no more than that' wait_until 2 is_count $((262144 + 3 * 131072)) given_out
need create_group
need modprobe -r csfgpu
load_gpu suspend_bytes=32768
check 'a smaller size: all stay' is "$(attr suspend_bytes) $(attr suspend_free)" '32768 3'
check 'and serve' create_group
check 'nothing was allocated for that' is "$(given_out)" $((262144 + 3 * 131072))
