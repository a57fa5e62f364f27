# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU's driver is unbound and bound by hand: the GPU keeps its heap, unless there is a better one by then
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
	check "unbound by hand, $round: it stays bound" wait_until 5 ends bound adopted
	need bind_gpu
	check 'bound by hand: it has the same buffer' is "$(attr state) $(gpu firmware_dma)" "in-use $dma"
done
check 'and was not bound late' is "$(gpu late_bounds) $(buffers)" '0 17'
check 'the daemon saw it' wait_until 5 ends in-use adopted

prefer $UI | policy radxa,rock-5b
check 'a better heap waits' wait_until 10 next_is $UI
check 'while the GPU uses the other' is "$(attr heap) $(gpu firmware_dma)" "$VIDEO $dma"
stop_daemon KILL
start_daemon
check 'also for a daemon that was killed' next_is $UI
check 'which leaves it at that' is "$(attr heap) $(gpu firmware_dma)" "$VIDEO $dma"
need unbind_gpu
check 'the driver lets go: the better one is bound' wait_until 5 bound_to $UI
check 'by a policy' is "$(state_of /gpus/0/policy) $(state_of /gpus/0/reason)" 'radxa,rock-5b '
check 'nothing better is left' next_is none
check 'why it was withdrawn is told' at_least "$(step_us withdrawn)" 1
need bind_gpu
check 'the GPU has it from its probe on' is "$(attr state) $(gpu bound) $(gpu late_bounds)" 'in-use 1 0'
check 'nothing is left of the other' wait_until 5 is_count 17 buffers

# Whoever is faster.
for heap in $VIDEO $UI $VIDEO $UI; do
	prefer $heap | policy radxa,rock-5b
	need wait_until 10 next_is $heap
	need unbind_gpu
	need bind_gpu
	check 'unbound and bound at once: the GPU has one of both' wait_until 10 settled
	if ! next_is none >/dev/null; then
		need unbind_gpu
		check 'the better one is bound when it lets go again' wait_until 10 bound_to $heap
		need bind_gpu
	fi
	need wait_until 10 settled
done
check 'nothing is allocated twice' wait_until 5 is_count 17 buffers
stop_daemon
check 'the daemon ends well' is "$DAEMON_STATUS" 0
