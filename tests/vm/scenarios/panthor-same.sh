# SPDX-License-Identifier: MIT OR Apache-2.0
# about: without a binding, the patched panthor allocates exactly what the panthor of Linux 7.3 does

# allocations: prints those of a panthor that was just loaded, and of one with three groups that have run
allocations() {
	load_panthor
	keep_awake
	cat /sys/kernel/debug/dri/$GPU/gems
	keep_groups 3 --job
	cat /sys/kernel/debug/dri/$GPU/gems
	release_groups
	need rmmod panthor
}

# sizes: prints the columns that depend neither on the process nor on the mapping
sizes() { awk '$7 ~ /^0x/ { $1 = $7 = ""; print }' "$1"; }

load_model
own=$(ls /lib/modules/*/panthor.ko)
need cp "$own" /run/own.ko
use_panthor unmodified
allocations >/run/unmodified
need cp /run/own.ko "$own"
allocations >/run/patched
check 'there are at least 20 allocations to compare' at_least "$(sizes /run/unmodified | wc -l)" 20
check 'without protheap.ko, the patched panthor has the same allocations' is "$(sizes /run/patched)" "$(sizes /run/unmodified)"
load_tee
load_protheap
allocations >/run/unbound
check 'with protheap.ko and no binding, the patched panthor has the same allocations' is "$(sizes /run/unbound)" "$(sizes /run/unmodified)"
