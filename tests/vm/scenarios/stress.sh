# SPDX-License-Identifier: MIT OR Apache-2.0
# about: eight processes act at random like binders, administrators and GPU drivers: none hangs, and no buffer leaks
# overlay: second-gpu
# smp: 2
# clock: host
# why: system calls race only on processors that run in parallel
# limit: 60

load_tee
load_protheap
load_gpu
storm stress $((6 * SLOW))
say "$(tr '\n' ' ' </run/counts)"
check 'the processes make at least 2000 steps' at_least "$(count step)" 2000
for event in bound-handed bound-kernel withdrawn driver-bound driver-unbound group-create group-destroy group-keep \
	kept-group-destroyed suspend-given heap-stored; do
	check "the processes count $event at least 5 times" at_least "$(count $event)" 5
done
for event in decided-against seen-late tee-restarted; do
	check "$event happens at least twice" at_least "$(count $event)" 2
done
for event in give-small-EMSGSIZE give-mappable-EMEDIUMTYPE give-other-heap-EMEDIUMTYPE give-twice-EEXIST give-nobody-ENODEV; do
	check "the kernel refuses $event at least twice" at_least "$(count $event)" 2
done
check_idle
