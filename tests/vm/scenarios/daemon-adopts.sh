# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon adopts the binding that the binder made and the GPU uses, and allocates nothing; it binds again when the GPU returns
# source: kernel, handed

load_tee
load_protheap
run_binder
load_gpu
need create_group
need is "$(attr state)" in-use
dma=$(gpu firmware_dma)
start_daemon
check 'the daemon adopts the binding' ends in-use adopted
check 'the daemon writes state.json' like "$(state_of /written_by)" 'protheapd *'
check 'state.json keeps the heap, its protection and its exporter' is "$(state_of /gpus/0/heap) $(state_of /gpus/0/protection) $(state_of /gpus/0/exporter)" \
	'protected,secure-video tee tee'
check 'state.json keeps the size and the number of buffers' is "$(state_of /gpus/0/firmware_bytes) $(state_of /gpus/0/suspend_count)" '262144 16'
check 'media stacks still find the heap' is "$(readlink /run/protheap/heaps/secure-video)" /dev/dma_heap/protected,secure-video
check 'the daemon allocates no buffer when it adopts' is "$(buffers)" 17
check 'the GPU driver is not notified when the daemon adopts' is "$(gpu firmware_dma) $(gpu late_bounds)" "$dma 0"

run_binder
check 'the binder exits at once while a daemon runs' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '0 adopted'
stop_daemon
check 'the daemon exits with status 0 on SIGTERM' is "$DAEMON_STATUS" 0
check 'the binding remains when the daemon has exited' is "$(attr state) $(attr suspend_in_use)" 'in-use 1'
check 'a protected group gets a buffer without the daemon' create_group

rm -r /run/protheap
start_daemon
check 'the daemon adopts the binding although /run/protheap is missing' ends in-use adopted
need modprobe -r csfgpu
check 'the daemon reports that the GPU driver was unloaded' wait_until 2 ends bound adopted
need rmdir "$CONFIG/$GPU"
check 'the daemon reports that the binding was withdrawn' wait_until 2 ends unprotected withdrawn
sleep 1
check 'the daemon does not restore a withdrawn binding' absent "$CONFIG/$GPU"

load_gpu
check 'the daemon binds again when a GPU driver probes' wait_until 2 holds "$CONFIG/$GPU/state" in-use
stop_daemon
need rmdir "$CONFIG/$GPU"
start_daemon
check 'the daemon waits while the driver uses buffers of a withdrawn binding' wait_until 2 ends unprotected withdrawn
check 'the driver keeps the buffers of a withdrawn binding' is "$(gpu bound)" 1
need modprobe -r csfgpu
check 'the daemon binds when the driver has released its buffers' wait_until 2 holds "$CONFIG/$GPU/state" bound
need rmdir "$CONFIG/$GPU"
need wait_until 2 ends unprotected withdrawn
check 'the daemon does not prevent that the module is unloaded' modprobe -r protheap
load_protheap
check 'the daemon binds again when the module is loaded again' wait_until 2 holds "$CONFIG/$GPU/state" bound
check 'no buffer is allocated twice' is "$(buffers)" 17
stop_daemon
check 'protheapd logs no unexpected line' empty complaints
