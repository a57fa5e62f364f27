# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel allocates at commit: a heap that will not do shows before the GPU is released, and nothing leaks

load_tee size=1048576
load_protheap
HEAP=protected,secure-video
check 'both sources are there' is "$(cat $CONFIG/sources)" 'handed kernel'
need mkdir "$CONFIG/$GPU"
check 'the kernel allocates, unless told otherwise' is "$(attr source)" kernel
need store heap nothing
need store suspend_bytes 65536
need store suspend_count 2
check 'no size of the firmware' fails_with ENODATA store commit bind
need store firmware_bytes_wanted 262144
check 'no such heap' fails_with ENODEV store commit bind
need store heap system
check 'memory that can be mapped' fails_with EPERM store commit bind
need store heap $HEAP
need store firmware_bytes_wanted 2097152
check 'too large a firmware buffer' fails_with ENOMEM store commit bind
need store firmware_bytes_wanted 1048576
check 'no memory for a suspend buffer' fails_with ENOMEM store commit bind
check 'what failed left nothing' wait_until 2 is_zero given_out
need store firmware_bytes_wanted 262144
need store suspend_count 13
check 'nothing is handed over here' fails_with EOPNOTSUPP hand_over firmware $HEAP 262144
check 'what was refused is counted' is "$(counter refused-no-heap) $(counter refused-not-protected) $(counter refused-heap-too-small) $(counter refused-not-handed)" '1 1 2 1'
check 'what fits is bound' store commit bind
check 'by the heap that it names' is "$(attr state) $(attr exporter) $(attr suspend_free)" 'bound tee 12'
check 'with every byte' is "$(given_out)" 1048576
need rmdir "$CONFIG/$GPU"
check 'all comes back' wait_until 2 is_zero given_out

need mkdir "$CONFIG/$GPU"
need store source handed
need store heap $HEAP
check 'handed works here as well' hand_over firmware $HEAP 262144
need store source kernel
check 'another source: what was handed over is let go' wait_until 2 is_zero given_out
need store allow_unprotected 1
need store heap system
need store firmware_bytes_wanted 4096
check 'for bring-up, memory that can be mapped' store commit bind
check 'which the kernel warns of' like "$(dmesg | tail -3)" '*NOT protected*'
need rmdir "$CONFIG/$GPU"

drop_tee
need wait_until 2 absent /dev/tee0
need mkdir "$CONFIG/$GPU"
need store heap $HEAP
need store firmware_bytes_wanted 4096
check 'a heap without its TEE is dead' fails_with EIO store commit bind
check 'the GPU is not held by that' is "$(attr state)" open
