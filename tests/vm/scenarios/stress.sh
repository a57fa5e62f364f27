# SPDX-License-Identifier: MIT OR Apache-2.0
# about: eight processes do at random what binders, administrators and GPU drivers do: nothing hangs, all comes back
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
check 'it was busy' at_least "$(count step)" 2000
for what in bound-handed bound-kernel withdrawn driver-bound driver-unbound group-create group-destroy group-keep \
	kept-group-destroyed suspend-given heap-stored; do
	check "$what, often" at_least "$(count $what)" 5
done
for what in decided-against seen-late tee-restarted; do
	check "$what, now and then" at_least "$(count $what)" 2
done
for what in give-small-EMSGSIZE give-mappable-EPERM give-other-heap-EPERM give-twice-EEXIST give-nobody-ENODEV; do
	check "refused: $what" at_least "$(count $what)" 2
done
check_idle
