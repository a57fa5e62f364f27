# SPDX-License-Identifier: MIT OR Apache-2.0
# about: Debian's untouched kernel loads protheap.ko and the patched panthor, which takes its buffers from a binding
# kernel: debian
# source: handed
# limit: 120

# A module there, in which nothing is mounted before it is loaded.
need modprobe configfs
need mount -t configfs configfs /sys/kernel/config
check 'the kernel is the one that Debian has built' like "$(cat /proc/version)" '*Debian*'
check 'the kernel has no dma-buf heaps' absent /sys/class/dma_heap

load_model
load_tee
check 'the TEE provides its heap with modules alone' exists "$(heap protected,secure-video)"
load_protheap
check 'only user space can allocate' is "$(cat $CONFIG/can_allocate)" 0
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'the binder commits the binding' is "$(attr state)" bound
check 'the exporter of the buffers is the TEE' is "$(attr exporter)" tee

load_panthor
keep_awake
check 'the patched panthor probes' is "$(driver)" panthor
check 'panthor uses the binding' is "$(attr state)" in-use
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'the firmware has prepared protected mode' is "$(firmware_says prepared)" 1
check 'ordinary jobs run' is "$(panthor job --count 20)" 'jobs 20/20'
keep_groups 2 --protected --job
check 'each protected group uses one protected suspend buffer' is "$(attr suspend_in_use)" 2
release_groups
check 'protected groups release their suspend buffers' wait_until 2 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the simulated GPU reports no violation' is "$(check_model)" fine
need rmmod panthor
need rmdir "$CONFIG/$GPU"
check 'the TEE has all memory back after panthor and the binding are gone' wait_until 10 is_zero given_out
check 'protheap can be unloaded' rmmod protheap
