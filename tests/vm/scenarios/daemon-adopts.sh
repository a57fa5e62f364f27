# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon takes over what the binder bound and the GPU uses: nothing is bound anew, nothing goes with it
# source: kernel, handed

load_tee
load_protheap
run_binder
load_gpu
need create_group
need is "$(attr state)" in-use
dma=$(gpu firmware_dma)
start_daemon
check 'it adopts the binding' ends in-use adopted
check 'state.json is its' like "$(state_of /written_by)" 'protheapd *'
check 'and stays true' is "$(state_of /gpus/0/heap) $(state_of /gpus/0/protection) $(state_of /gpus/0/exporter)" \
	'protected,secure-video tee tee'
check 'in its numbers too' is "$(state_of /gpus/0/firmware_bytes) $(state_of /gpus/0/suspend_count)" '262144 16'
check 'media stacks find the heap' is "$(readlink /run/protheap/heaps/secure-video)" /dev/dma_heap/protected,secure-video
check 'nothing was allocated' is "$(buffers)" 17
check 'the GPU was left alone' is "$(gpu firmware_dma) $(gpu late_bounds)" "$dma 0"

run_binder
check 'a binder beside it is not kept waiting' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '0 adopted'
stop_daemon
check 'SIGTERM ends it well' is "$DAEMON_STATUS" 0
check 'the binding stays' is "$(attr state) $(attr suspend_in_use)" 'in-use 1'
check 'a group can come and go' create_group

rm -r /run/protheap
start_daemon
check 'the kernel is the truth, not /run' ends in-use adopted
need modprobe -r csfgpu
check 'it sees when the GPU lets go' wait_until 2 ends bound adopted
need rmdir "$CONFIG/$GPU"
check 'and when somebody takes the binding away' wait_until 2 ends unprotected withdrawn
sleep 1
check 'which it leaves at that' absent "$CONFIG/$GPU"

load_gpu
check 'a GPU that comes is a reason to bind again' wait_until 2 holds "$CONFIG/$GPU/state" in-use
stop_daemon
need rmdir "$CONFIG/$GPU"
start_daemon
check 'what the GPU still has of a binding is waited for' wait_until 2 ends unprotected withdrawn
check 'and left to it' is "$(gpu bound)" 1
need modprobe -r csfgpu
check 'until it lets go' wait_until 2 holds "$CONFIG/$GPU/state" bound
need rmdir "$CONFIG/$GPU"
need wait_until 2 ends unprotected withdrawn
check 'nothing keeps the module from being unloaded' modprobe -r protheap
load_protheap
check 'loaded anew, it binds again' wait_until 2 holds "$CONFIG/$GPU/state" bound
check 'nothing is allocated twice' is "$(buffers)" 17
stop_daemon
check 'protheapd logs no complaint' empty complaints
