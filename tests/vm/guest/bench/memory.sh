# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures the memory of the binder while it waits for a TEE that never probes.

. /scenarios/bench/common.sh
load_protheap
load_tee delay_ms=-1
start_binder
need wait_for "$CONFIG/$GPU/state" held 2
for field in RssAnon RssFile VmHWM Threads; do
	echo "figure $field $(sed -n "s/^$field:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$BINDER/status")"
done
kill "$BINDER"
