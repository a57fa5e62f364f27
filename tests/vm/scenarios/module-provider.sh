# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU is held for the module of a heap while the module is not initialized, and not if it is missing or has failed
# limit: 120

# anew: unloads all modules, so that the GPU can be held again, as after a boot
anew() {
	[ ! -e /sys/module/csfgpu ] || need rmmod csfgpu
	[ ! -e "$CONFIG/$GPU" ] || need rmdir "$CONFIG/$GPU"
	need rmmod protheap
	load_protheap
}
# named MODULE HOLD: the only policy names the heap of that module
named() {
	printf 'schema = 1\n[gpu."arm,mali-valhall-csf"]\nheaps = [{ name = "simheap", module = "%s" }]\nhold = "%s"\n' "$@" |
		policy default
}
held_us() { state_of /gpus/0/held_us; }
is_awaited() { is "$(state_of /gpus/0/considered/0/outcome)" awaited; }
is_in_use() { holds "$CONFIG/$GPU/state" in-use; }
detail() { state_of /gpus/0/considered/0/detail; }

no_policies
load_protheap

named no_such_module 5s
run_binder
check 'a GPU is not held for a module that is not installed' is "$BINDER_STATUS $(state_of /gpus/0/reason) $(held_us)" '0 no-heap 0'
check 'the candidate has the state of the module' is "$(detail)" 'module no_such_module is not installed'
check 'explain shows the state of the module' like "$(protheapctl explain)" '*module no_such_module (not installed)*'
start_daemon
reload_daemon
check 'the daemon logs once that the module is not installed' is "$(log_count 'module no_such_module of simheap is not installed')" 1
stop_daemon
load_gpu
check 'the GPU probes at once' gpu_probed

anew
named simheap 5s
start_binder
check 'the GPU is held while the module is installed and not loaded' is "$(attr state)" held
check 'the candidate is awaited' wait_until 2 is_awaited
check 'explain shows that the module is not loaded' like "$(protheapctl explain)" '*module simheap (installed, not loaded)*'
load_gpu
modprobe simheap delay_ms=1500 fail=-22 >/run/modprobe.log 2>&1 &
loading=$!
check 'the module is being initialized' wait_for /sys/module/simheap/initstate coming 2
check 'the GPU does not probe while the module is initialized' has_no_driver
end_binder
wait $loading
check 'the initialization of the module fails' differs $? 0
check 'a module that fails ends the hold' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '0 no-heap'
check 'the GPU is held until the module fails' at_least "$(held_us)" 1400000
check 'a module that fails: the GPU is not held until the hold timeout' at_most "$(held_us)" 4500000
check 'the candidate has the failure of the module' is "$(detail)" 'module simheap failed to initialize, or was unloaded'
check 'the timeline has the failure after the start of the initialization' at_least "$(step_us module-failed)" "$(step_us module-loading)"
check 'the binder logs the failure of the module' grep -q 'heap module simheap failed to initialize' /run/binder.log
check 'the GPU probes after the module failed' wait_until 2 gpu_probed

anew
named sim-heap2 5s
run_binder
check 'a module of another name is not awaited' is "$(state_of /gpus/0/reason) $(held_us)" 'no-heap 0'
named simheap 1s
start_binder
load_gpu
end_binder
check 'a module that is never loaded: the reason is heap-late' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '0 heap-late'
check 'a module that is never loaded: the GPU probes when the hold expires' wait_until 2 gpu_probed

anew
named simheap 5s
start_binder
load_gpu
check 'the GPU is held again' is "$(attr state)" held
modprobe simheap delay_ms=1000 >/run/modprobe.log 2>&1 &
end_binder
bound=bound
# On the debug kernel, the GPU has probed before the state is read.
[ ! -e /sys/kernel/debug/kmemleak ] || is "$(state_of /gpus/0/state)" bound || bound=in-use
check 'the binder binds the heap of the module' is "$BINDER_STATUS $(state_of /gpus/0/heap) $(state_of /gpus/0/state)" "0 simheap $bound"
check 'the binding is committed after the heap appeared' at_least "$(step_us bound)" "$(step_us heap-appeared)"
check 'the GPU is held until the module registers the heap' at_least "$(held_us)" 900000
check 'the GPU is not held until the hold timeout when the module is loaded' at_most "$(held_us)" 4500000
check 'the GPU uses the heap of the module' wait_until 2 is_in_use

anew
run_binder
check 'a module that is loaded is not awaited' is "$BINDER_STATUS $(state_of /gpus/0/state)" '0 bound'
