# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU whose driver is unbound and bound by hand keeps its heap, unless the policy prefers another heap by then
# source: kernel, handed
# limit: 60

VIDEO=protected,secure-video
UI=protected,trusted-ui

bound_to() { is "$(attr state) $(attr heap) $(state_of /gpus/0/heap)" "bound $1 $1"; }
settled() { is "$(attr state) $(gpu bound) $(state_of /gpus/0/state)" 'in-use 1 in-use'; }

load_tee "heaps=$VIDEO;$UI"
load_protheap
run_binder
load_gpu
need create_group
start_daemon
dma=$(gpu firmware_dma)
for round in 1 2; do
	need unbind_gpu
	check "unbound by hand, $round: the GPU stays bound" wait_until 5 ends bound adopted
	need bind_gpu
	check 'bound by hand: the GPU driver has the same buffer' is "$(attr state) $(gpu firmware_dma)" "in-use $dma"
done
check 'the GPU driver gets no late binding' is "$(gpu late_bounds) $(buffers)" '0 17'
check 'the daemon reports that the driver uses the binding again' wait_until 5 ends in-use adopted

prefer $UI | policy radxa,rock-5b
check 'the daemon reports a preferred heap as next' wait_until 10 next_is $UI
check 'the GPU keeps its heap while the driver uses it' is "$(attr heap) $(gpu firmware_dma)" "$VIDEO $dma"
stop_daemon KILL
start_daemon
check 'a restarted daemon reports the preferred heap as next' next_is $UI
check 'a restarted daemon leaves the heap in use bound' is "$(attr heap) $(gpu firmware_dma)" "$VIDEO $dma"
need unbind_gpu
check 'the daemon binds the preferred heap when the driver is unbound' wait_until 5 bound_to $UI
check 'state.json names the policy that prefers the heap' is "$(state_of /gpus/0/policy) $(state_of /gpus/0/reason)" 'radxa,rock-5b '
check 'the daemon reports no other preferred heap' next_is none
check 'the timeline has the withdrawal' at_least "$(step_us withdrawn)" 1
need bind_gpu
check 'the GPU driver gets the preferred heap when it probes' is "$(attr state) $(gpu bound) $(gpu late_bounds)" 'in-use 1 0'
check 'no buffer of the first heap is left' wait_until 5 is_count 17 buffers

# The daemon and the driver race here.
for heap in $VIDEO $UI $VIDEO $UI; do
	prefer $heap | policy radxa,rock-5b
	need wait_until 10 next_is $heap
	need unbind_gpu
	need bind_gpu
	check 'unbound and bound at once: the GPU uses either heap' wait_until 10 settled
	if ! next_is none >/dev/null; then
		need unbind_gpu
		check 'the daemon binds the preferred heap when the driver is unbound again' wait_until 10 bound_to $heap
		need bind_gpu
	fi
	need wait_until 10 settled
done
check 'no buffer is allocated twice' wait_until 5 is_count 17 buffers
stop_daemon
check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0
