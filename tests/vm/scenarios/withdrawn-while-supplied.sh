# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a binding that is withdrawn while the kernel allocates suspend buffers for it does not get them, and no buffer leaks

load_protheap
# Memory that has to be cleared takes long to allocate.
load_gpu suspend_bytes=1048576
for round in 1 2 3; do
	need unbind_gpu
	need mkdir "$CONFIG/$GPU"
	need store allow_unprotected 1
	need store heap system
	need store firmware_bytes_wanted 262144
	need store suspend_count 128
	need store commit bind
	# The driver reports the size of a suspend buffer, and holds the firmware buffer all the time.
	need bind_gpu
	need rmdir "$CONFIG/$GPU"
	check "withdrawn, time $round: the driver has the firmware buffer" is "$(counter in-use)" 1
	check 'the kernel has no other buffer of the withdrawn binding' wait_until 2 is_count 1 counter buffers
done
need unbind_gpu
check 'no buffer is left when the driver is unbound' wait_until 2 is_zero buffers
check 'the kernel makes the next binding' protheap-guest mkdir "$CONFIG/$GPU"
