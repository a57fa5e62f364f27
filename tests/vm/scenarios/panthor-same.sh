# SPDX-License-Identifier: MIT OR Apache-2.0
# about: without a binding, the patched panthor allocates what Linux's own does, byte for byte

# allocations: of a panthor that has just been loaded, and of one with three groups that have run
allocations() {
	load_panthor
	keep_awake
	cat /sys/kernel/debug/dri/$GPU/gems
	keep_groups 3 --job
	cat /sys/kernel/debug/dri/$GPU/gems
	release_groups
	need rmmod panthor
}

# sizes: what of it does not depend on who asked and where it is mapped
sizes() { awk '$7 ~ /^0x/ { $1 = $7 = ""; print }' "$1"; }

load_model
own=$(ls /lib/modules/*/panthor.ko)
need cp "$own" /run/own.ko
use_panthor unmodified
allocations >/run/unmodified
need cp /run/own.ko "$own"
allocations >/run/patched
check 'there is something to compare' at_least "$(sizes /run/unmodified | wc -l)" 20
check 'without protheap.ko it is the same' is "$(sizes /run/patched)" "$(sizes /run/unmodified)"
load_tee
load_protheap
allocations >/run/unbound
check 'and with it, without a binding' is "$(sizes /run/unbound)" "$(sizes /run/unmodified)"
