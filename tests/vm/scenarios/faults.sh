# SPDX-License-Identifier: MIT OR Apache-2.0
# about: each allocation of each operation fails once, no resource leaks, and the operation works without the failure
# kernel: debug

# Loading the module is not among the operations; see configfs-name-taken for one of its failures.
# Allocations that may sleep can fail as well.
echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
for kind in failslab fail_usercopy; do
	echo 0 >/sys/kernel/debug/$kind/verbose
done
load_tee
load_protheap
load_gpu
dmesg -n 5
need protheap-guest faults "$GPU"
echo "$seen" >/run/counts
say "$(tr '\n' ' ' </run/counts)"
for operation in mkdir store bind-kernel bind-handed give probe group; do
	check "$operation fails in at least three ways" at_least "$(count $operation)" 3
done
check_idle
