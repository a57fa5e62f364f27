# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel accepts only valid buffers from user space, and leaks none
# source: handed

load_tee
load_protheap
HEAP=protected,secure-video
check 'the kernel refuses a buffer for a device without a binding' fails_with ENODEV hand_over firmware $HEAP 262144
need mkdir "$CONFIG/$GPU"
need store heap $HEAP
need store firmware_bytes_wanted 262144
need store suspend_bytes_wanted 65536
need store suspend_count 2
check 'the kernel refuses a commit without the firmware buffer' fails_with ENODATA store commit bind
check 'the kernel refuses a firmware buffer that is too small' fails_with EMSGSIZE hand_over firmware $HEAP 131072
check 'the kernel refuses a suspend buffer that is too small' fails_with EMSGSIZE hand_over suspend $HEAP 4096
check 'the kernel refuses memory that can be mapped' fails_with EMEDIUMTYPE hand_over firmware system 262144
check 'the kernel refuses CMA memory' fails_with EMEDIUMTYPE hand_over firmware default_cma_region 262144
check 'the kernel refuses a file that is no dma-buf' fails_with EINVAL hand_over firmware $HEAP 262144 --file /init
check 'the kernel refuses a number that is no open file' fails_with EBADF hand_over firmware $HEAP 262144 --fd 99
check 'the kernel refuses an unknown kind of buffer' fails_with EINVAL hand_over 7 $HEAP 262144
for flags in 1 4294967296 9223372036854775808; do
	check "the kernel refuses the unknown flag $flags" fails_with EINVAL hand_over firmware $HEAP 262144 --flags $flags
done
# A descriptor that does not exist: the kernel checks the caller before the argument.
passed() { protheap-guest as "$1" protheap-guest hand-over "$GPU" firmware $HEAP 262144 --fd 99 --node 9 9<>/dev/protheap; }
check '/dev/protheap can be opened only by root' is "$(stat -c '%a %u %g' /dev/protheap)" '600 0 0'
check 'the kernel refuses a user who was given an open /dev/protheap' fails_with EPERM passed 65534
check 'the kernel accepts root who was given an open /dev/protheap' fails_with EBADF passed 0
check 'the kernel refuses a device name without a terminator' fails_with EINVAL hand_over firmware $HEAP 262144 --unterminated
check 'the kernel refuses a buffer for another device than the binding' fails_with ENODEV protheap-guest hand-over other.gpu firmware $HEAP 262144
check 'the kernel refuses the same buffer twice' fails_with EEXIST hand_over firmware $HEAP 262144 --again "$GPU" suspend
check 'the kernel refuses a second firmware buffer' fails_with EBUSY hand_over firmware $HEAP 262144
check 'the kernel accepts suspend buffers' hand_over suspend $HEAP 65536 --count 2
check 'the kernel refuses more suspend buffers than suspend_count' fails_with ENOSPC hand_over suspend $HEAP 65536
check 'the kernel accepts a commit of complete buffers' store commit bind
check 'the kernel refuses a second commit' fails_with EBUSY store commit none
check 'the kernel refuses another heap after the commit' fails_with EBUSY store heap other
check 'the kernel refuses a firmware buffer after the commit' fails_with EBUSY hand_over firmware $HEAP 262144
check 'the kernel has exactly the buffers that it accepted' wait_until 2 is_count 3 buffers
need rmdir "$CONFIG/$GPU"
check 'no dma-buf leaks after the binding was withdrawn' wait_until 2 is_zero buffers

need mkdir "$CONFIG/$GPU"
need store allow_unprotected 1
need hand_over firmware system 262144
need store suspend_bytes_wanted 4096
need store suspend_count 1
check 'the kernel refuses a buffer of another exporter' fails_with EXDEV hand_over suspend default_cma_region 4096
need rmdir "$CONFIG/$GPU"
check 'no dma-buf leaks after buffers of two exporters' wait_until 2 is_zero buffers
