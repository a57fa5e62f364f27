# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures the binder on a board without protected memory, as most boards are.

. /scenarios/bench/common.sh
for _ in $(seq $ROUNDS); do
	fresh
	need bench-tool run no-provider protheap-bind
	echo "$seen"
	need is "$(state_of /gpus/0/reason)" no-provider
done
