# SPDX-License-Identifier: MIT OR Apache-2.0
#
# From exec to the end with a committed binding: the binder, a script, and the binder's system calls alone. Besides,
# programs that do nothing: what starting and ending one takes.

. /scenarios/bench/common.sh
load_tee
load_protheap
need mkdir "$CONFIG/$GPU"
SOURCE=$(attr source)

round() {
	bound_by bench-tool run bind protheap-bind
	bound_by bench-tool run by-hand sh /scenarios/bench/by-hand.sh "$SOURCE"
	bound_by bench-tool run replay replay
	bench-tool run nothing-c nothing-c
	bench-tool run nothing-rust nothing-rust
}

# Caches are warm after the first.
warm=$(round) || { echo "$warm"; exit 1; }
for _ in $(seq $ROUNDS); do round; done
bound_by replay --times
