# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap appears after the hold has ended: the daemon binds it, and notifies the GPU driver
# source: kernel, handed

hold_ms=$((SLOW > 1 ? 5000 : 500))
policy radxa,rock-5b <<END
schema = 1
[gpu."arm,mali-valhall-csf"]
hold = "${hold_ms}ms"
END
load_protheap
load_tee delay_ms=$((hold_ms + 2000))
start_binder
start_daemon
check 'the daemon does not end the hold of a binder' is "$(attr state)" held
load_gpu
end_binder
need wait_until 2 gpu_probed
check 'the GPU probes without protected memory when the hold ends' is "$(gpu bound) $(state_of /gpus/0/state)" '0 unprotected'
check 'the daemon binds the heap when it appears' wait_until 5 holds "$CONFIG/$GPU/state" in-use
check 'the GPU driver is notified of the late binding' is "$(gpu late_bounds) $(gpu bound)" '1 1'
check 'state.json reports state in-use and no reason' wait_until 2 ends in-use ''
check 'the binding has all its buffers' is "$(attr suspend_free) $(buffers)" '16 17'
check 'the daemon has written state.json' like "$(state_of /written_by)" 'protheapd *'
check 'protheapd logs no unexpected line' empty complaints
stop_daemon
check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0
