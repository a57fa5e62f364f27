# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Compares a suspend buffer from the pool of the binding with one from the heap.

. /scenarios/bench/common.sh
COUNT=2000
load_tee
load_protheap
run_binder
load_gpu
need is "$(attr state)" in-use
DEBUG=/sys/kernel/debug/csfgpu/$GPU

for _ in $(seq $ROUNDS); do
	# In the kernel: a GPU driver gets and puts a buffer.
	need protheap-guest write "$DEBUG/suspend_ns" $COUNT
	echo "figure pool $(cat "$DEBUG/suspend_ns")"
	# From user space: a group, whose buffer is mapped for the GPU, and a buffer of the same size from the heap.
	need bench-tool groups group "$DEBUG/groups" $COUNT
	echo "$seen"
	need bench-tool heap heap "$(heap protected,secure-video)" 65536 $COUNT
	echo "$seen"
	need bench-tool calls calls "$(heap protected,secure-video)" $COUNT
	echo "$seen"
done
