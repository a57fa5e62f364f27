# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures the time from exec to exit with a committed binding: of the binder, of a script, and of only the system calls
# of the binder; and of empty programs, which only start and exit.

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

# The first round warms the caches.
warm=$(round) || { echo "$warm"; exit 1; }
for _ in $(seq $ROUNDS); do round; done
bound_by replay --times
