# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel allocates at commit: it refuses an unsuitable heap while the GPU is still held, and leaks no buffer

load_tee size=1048576
load_protheap
HEAP=protected,secure-video
check 'the module can allocate' is "$(cat $CONFIG/can_allocate)" 1
need mkdir "$CONFIG/$GPU"
check 'the default source is the kernel' is "$(attr source)" kernel
need store heap nothing
need store suspend_bytes_wanted 65536
need store suspend_count 2
check 'the kernel refuses a commit without the size of the firmware buffer' fails_with ENODATA store commit bind
need store firmware_bytes_wanted 262144
check 'the kernel refuses a heap that does not exist' fails_with ENODEV store commit bind
need store heap system
check 'the kernel refuses memory that can be mapped' fails_with EMEDIUMTYPE store commit bind
need store heap $HEAP
need store firmware_bytes_wanted 2097152
check 'the kernel refuses a firmware buffer larger than the heap' fails_with ENOMEM store commit bind
need store firmware_bytes_wanted 1048576
check 'the kernel refuses a heap without memory for a suspend buffer' fails_with ENOMEM store commit bind
check 'failed commits leave no buffer' wait_until 2 is_zero given_out
need store firmware_bytes_wanted 262144
need store suspend_count 13
check 'the kernel accepts no buffer from user space with the source kernel' fails_with EOPNOTSUPP hand_over firmware $HEAP 262144
check 'the kernel counts each kind of refusal' is "$(counter refused-no-heap) $(counter refused-not-protected) $(counter refused-heap-too-small) $(counter refused-not-handed)" '1 1 2 1'
check 'the kernel commits buffers that fit the heap' store commit bind
check 'the binding has its exporter and 12 suspend buffers' is "$(attr state) $(attr exporter) $(attr suspend_free)" 'bound tee 12'
check 'the binding uses every byte of the heap' is "$(given_out)" 1048576
need rmdir "$CONFIG/$GPU"
check 'the TEE has all memory back after the withdrawal' wait_until 2 is_zero given_out

need mkdir "$CONFIG/$GPU"
need store source handed
need store heap $HEAP
check 'the kernel accepts a buffer from user space with the source handed' hand_over firmware $HEAP 262144
need store source kernel
check 'the kernel frees handed buffers when the source changes' wait_until 2 is_zero given_out
need store allow_unprotected 1
need store heap system
need store firmware_bytes_wanted 4096
check 'with allow_unprotected, the kernel commits memory that can be mapped' store commit bind
check 'the kernel logs that the memory is not protected' like "$(dmesg | tail -3)" '*NOT protected*'
need rmdir "$CONFIG/$GPU"

drop_tee
need wait_until 2 absent /dev/tee0
need mkdir "$CONFIG/$GPU"
need store heap $HEAP
need store firmware_bytes_wanted 4096
check 'the kernel refuses a heap whose TEE is gone' fails_with EIO store commit bind
check 'a refused commit leaves the binding open' is "$(attr state)" open
