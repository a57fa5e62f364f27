# SPDX-License-Identifier: MIT OR Apache-2.0
# about: whatever user space hands over, the kernel takes only what it should, and nothing leaks
# source: handed

load_tee
load_protheap
HEAP=protected,secure-video
check 'a device without a binding' fails_with ENODEV hand_over firmware $HEAP 262144
need mkdir "$CONFIG/$GPU"
need store heap $HEAP
need store firmware_bytes_wanted 262144
need store suspend_bytes 65536
need store suspend_count 2
check 'commit without the firmware buffer' fails_with ENODATA store commit bind
check 'a firmware buffer that is too small' fails_with EMSGSIZE hand_over firmware $HEAP 131072
check 'a suspend buffer that is too small' fails_with EMSGSIZE hand_over suspend $HEAP 4096
check 'memory that can be mapped' fails_with EPERM hand_over firmware system 262144
check 'CMA memory' fails_with EPERM hand_over firmware default_cma_region 262144
check 'a file that is no dma-buf' fails_with EINVAL hand_over firmware $HEAP 262144 --file /init
check 'a number that is no file' fails_with EBADF hand_over firmware $HEAP 262144 --fd 99
check 'an unknown kind' fails_with EOPNOTSUPP hand_over 7 $HEAP 262144
check 'unknown flags' fails_with EOPNOTSUPP hand_over firmware $HEAP 262144 --flags 1
check 'a name without an end' fails_with EINVAL hand_over firmware $HEAP 262144 --unterminated
check 'another device than the binding' fails_with ENODEV protheap-guest hand-over other.gpu firmware $HEAP 262144
check 'the same buffer twice' fails_with EEXIST hand_over firmware $HEAP 262144 --again "$GPU" suspend
check 'a second firmware buffer' fails_with EBUSY hand_over firmware $HEAP 262144
check 'suspend buffers are taken' hand_over suspend $HEAP 65536 --count 2
check 'but no more than were announced' fails_with ENOSPC hand_over suspend $HEAP 65536
check 'commit is accepted' store commit bind
check 'a second commit is not' fails_with EBUSY store commit none
check 'nor another heap' fails_with EBUSY store heap other
check 'nor a firmware buffer' fails_with EBUSY hand_over firmware $HEAP 262144
check 'the kernel holds what was accepted, and no more' wait_until 2 is_count 3 buffers
need rmdir "$CONFIG/$GPU"
check 'nothing leaks' wait_until 2 is_zero buffers

need mkdir "$CONFIG/$GPU"
need store allow_unprotected 1
need hand_over firmware system 262144
need store suspend_bytes 4096
need store suspend_count 1
check 'a buffer of another exporter' fails_with EXDEV hand_over suspend default_cma_region 4096
need rmdir "$CONFIG/$GPU"
check 'nothing leaks here either' wait_until 2 is_zero buffers
