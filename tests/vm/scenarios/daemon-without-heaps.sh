# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a kernel without dma-buf heaps, the GPU is unprotected and not held, and the daemon logs its state once
# clock: instructions

load_protheap
load_tee
hide_heaps
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'the binder reports the GPU as unprotected: no-heap' ends unprotected no-heap
load_gpu
check 'the GPU driver probes without protected memory' is "$(gpu bound)" 0
start_daemon
check 'the daemon reports the GPU as unprotected: no-heap' ends unprotected no-heap
written=$(stat -c %i $STATE)
spent=$(daemon_ms)
sleep 120
check 'the daemon reports the same state two minutes later' ends unprotected no-heap
check 'the daemon does not write state.json again' is "$(stat -c %i $STATE)" "$written"
check 'the daemon uses at most 100 ms of processor time in two minutes' at_most $(($(daemon_ms) - spent)) 100
check 'the daemon logs the state of the GPU once' is "$(log_count "$GPU")" 1
check 'protheapd logs no unexpected line' empty complaints
check 'the daemon makes no binding' absent "$CONFIG/$GPU"
check 'the daemon makes no link to a heap' absent /run/protheap/heaps/secure-video
stop_daemon
check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0
