# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Real OP-TEE: how long a GPU is held, what the first allocation of a pool costs, and the first protected group of a
# binding on demand.

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
	# The attribute of the kernel is in ms, and what a report says is the binder's.
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
# As a player that has a buffer.
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
