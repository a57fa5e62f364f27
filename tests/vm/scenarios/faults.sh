# SPDX-License-Identifier: MIT OR Apache-2.0
# about: each allocation of each operation fails once: nothing is lost, and the same works without the failure
# kernel: debug

# Not of loading the module: where configfs cannot register it, Rust's own wrapper (7.3) unregisters it, and oopses.
# Allocations that may wait can fail as well.
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
	check "$operation failed in each way that it can" at_least "$(count $operation)" 3
done
check_idle
