# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel refuses, counts and logs a buffer that violates the contract of heaps once, and does not allocate again without a cause

HEAP=simheap
LIES=/sys/module/simheap/parameters
SIZE=131072
# broken FAULT: every further buffer of the heap has that fault
broken() { need protheap-guest write $LIES/fault "$1"; }
asked() { cat $LIES/allocations; }
# grown FAULT TRIES: the GPU driver requests larger suspend buffers than the two that are bound, and the heap breaks
# before they are allocated
grown() {
	broken none
	make_binding $HEAP 65536 2
	broken "$1"
	before=$(asked)
	load_gpu suspend_bytes=$SIZE
	need wait_until 5 at_least "$(asked)" $((before + $2))
	# An endless loop would make tens of thousands of allocations in this time.
	sleep 1
}
failures() { dmesg | grep -c "failed to allocate a $SIZE-byte suspend buffer from $HEAP: $1 "; }
gone() {
	need modprobe -r csfgpu
	need rmdir "$CONFIG/$GPU"
	broken none
}

load_protheap
need modprobe simheap

# refused FAULT REASON TRIES BUFFERS: checks how the kernel handles a fault
refused() {
	grown "$1" "$3"
	check "$1: the kernel allocates $3 times" is $(($(asked) - before)) "$3"
	check "$1: the kernel counts the refusal" is "$(counter "refused-$2")" 1
	check "$1: the kernel logs the refusal once" is "$(failures "$2")" 1
	check "$1: the firmware keeps its buffer" is "$(attr state) $(attr suspend_free)" "in-use $4"
	check "$1: a group without a free buffer causes another allocation" fails_group "$4"
	check "$1: the kernel counts and does not log the second refusal" is "$(counter "refused-$2") $(failures "$2")" '2 1'
	broken none
	check "$1: groups get suspend buffers when the heap works again" create_groups 2
	gone
}
# fails_group BUFFERS: makes that many groups, then one that gets no buffer
fails_group() {
	create_groups "$1" && fails_with ENOBUFS create_group
	result=$?
	destroy_groups "$1"
	return $result
}
create_groups() { for _ in $(seq "$1"); do create_group || return; done; }
destroy_groups() { for _ in $(seq "$1"); do destroy_group || return; done; }

refused short too-small 1 0
refused mappable not-protected 1 0
refused exporter other-exporter 1 0
refused enospc heap-too-small 1 0
refused same twice 2 1

need mkdir "$CONFIG/$GPU"
need store heap $HEAP
need store firmware_bytes_wanted 262144
need store suspend_bytes_wanted 65536
need store suspend_count 2
broken short
check 'the kernel refuses a firmware buffer that is too small' fails_with EMSGSIZE store commit bind
broken same
check 'the kernel refuses a buffer that it gets twice' fails_with EEXIST store commit bind
check 'the kernel keeps no refused buffer' is "$(attr state) $(counter buffers)" 'open 0'
need rmdir "$CONFIG/$GPU"

broken none
need mkdir "$CONFIG/$GPU"
need store heap $HEAP
need store firmware_bytes_wanted 262144
need store suspend_bytes_wanted 9223372036854771712
need store suspend_count 2
need store commit bind
check 'the sum of bytes does not overflow' is "$(counter buffers) $(counter bytes)" '3 18446744073709551615'
need rmdir "$CONFIG/$GPU"

broken unmapped
make_binding $HEAP 65536 1
load_gpu
check 'a firmware buffer that no device can map is not in use' is "$(attr state) $(gpu bound)" 'bound 0'
gone
check 'no dma-buf leaks' wait_until 5 is_zero buffers
