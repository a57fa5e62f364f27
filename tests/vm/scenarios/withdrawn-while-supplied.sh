# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a binding is withdrawn while the kernel allocates suspend buffers for it: it does not get them, nothing stays

load_protheap
# Memory that has to be cleared takes its time.
load_gpu suspend_bytes=1048576
for round in 1 2 3; do
	need unbind_gpu
	need mkdir "$CONFIG/$GPU"
	need store allow_unprotected 1
	need store heap system
	need store firmware_bytes_wanted 262144
	need store suspend_count 128
	need store commit bind
	# Its driver tells the size of a suspend buffer, and holds the firmware's all the while.
	need bind_gpu
	need rmdir "$CONFIG/$GPU"
	check "withdrawn, time $round: the driver has the firmware's buffer" is "$(counter in-use)" 1
	check 'and nothing else is there' wait_until 2 is_count 1 counter buffers
done
need unbind_gpu
check 'all is given back' wait_until 2 is_zero buffers
check 'the next binding has its place' protheap-guest mkdir "$CONFIG/$GPU"
