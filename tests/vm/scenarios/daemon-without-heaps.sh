# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a kernel without dma-buf heaps: the GPU goes without, nothing is held, and nothing is said twice
# clock: instructions

load_protheap
load_tee
hide_heaps
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the GPU goes without' ends unprotected no-heap
load_gpu
check 'its driver was not kept' is "$(gpu bound)" 0
start_daemon
check 'the daemon sees the same' ends unprotected no-heap
written=$(stat -c %i $STATE)
spent=$(daemon_ms)
sleep 120
check 'two minutes later, too' ends unprotected no-heap
check 'it wrote nothing anew' is "$(stat -c %i $STATE)" "$written"
check 'and did nothing' at_most $(($(daemon_ms) - spent)) 100
check 'it said once how the GPU stands' is "$(log_count "$GPU")" 1
check 'protheapd logs no complaint' empty complaints
check 'no binding is there' absent "$CONFIG/$GPU"
check 'no link leads to a heap' absent /run/protheap/heaps/secure-video
stop_daemon
check 'it ends well' is "$DAEMON_STATUS" 0
