# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures with a real OP-TEE: the time for which a GPU is held, the first allocation from a pool, and the first
# protected group of a binding on demand.

. /scenarios/bench/common.sh
ROUNDS=5

load_model
for _ in $(seq $ROUNDS); do
	rm -rf /run/protheap
	load_protheap
	start_binder
	load_tee
	end_binder
	need is "$BINDER_STATUS $(attr state)" '0 bound'
	# The attribute of the kernel is in milliseconds, so the more precise value of the binder is used.
	echo "figure held $(($(state_of /gpus/0/held_us) * 1000))"
	need rmdir "$CONFIG/$GPU"
	need rmmod protheap
	need unload_tee
done

load_tee
for _ in $(seq $ROUNDS); do
	need bench-tool heap first "$(heap protected,secure-video)" 65536 1
	echo "$seen"
done
# Holds a buffer, like a player.
protheap-guest alloc protected,secure-video 65536 --hold 30 >/run/held &
holder=$!
need wait_until 5 has_lines /run/held 1
for _ in $(seq $ROUNDS); do
	need bench-tool heap next "$(heap protected,secure-video)" 65536 1
	echo "$seen"
done
kill $holder
wait $holder

{ prefer protected,secure-video && echo 'bind = "demand"'; } | policy radxa,rock-5b
load_protheap
run_binder
start_daemon
load_panthor
need gpu_probed
for _ in $(seq $ROUNDS); do
	need wait_until 30 ends unprotected on-demand
	echo "figure cma-before $(cma_free)"
	need bench-tool run demanded protheap-guest panthor group --protected
	echo "$seen"
	echo "figure cma-during $(cma_free)"
	need bench-tool run bound protheap-guest panthor group --protected
	echo "$seen"
done
need wait_until 30 ends unprotected on-demand
echo "figure cma-after $(cma_free)"
stop_daemon
