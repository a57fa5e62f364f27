# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap comes long after the window has ended: the daemon binds it, and the GPU's driver is told
# source: kernel, handed

window=$((SLOW > 1 ? 5000 : 500))
policy radxa,rock-5b <<END
schema = 1
[gpu."arm,mali-valhall-csf"]
hold = "${window}ms"
END
load_protheap
load_tee delay_ms=$((window + 2000))
start_binder
start_daemon
check 'a daemon does not end the window that a binder has opened' is "$(attr state)" held
load_gpu
end_binder
need wait_until 2 gpu_probed
check 'the GPU probes without' is "$(gpu bound) $(state_of /gpus/0/state)" '0 unprotected'
check 'the daemon binds when the heap is there' wait_until 5 holds "$CONFIG/$GPU/state" in-use
check 'the driver was told' is "$(gpu late_bounds) $(gpu bound)" '1 1'
check 'state.json says so' wait_until 2 ends in-use ''
check 'all its buffers are there' is "$(attr suspend_free) $(buffers)" '16 17'
check 'it was the daemon' like "$(state_of /written_by)" 'protheapd *'
check 'protheapd logs no complaint' empty complaints
stop_daemon
check 'and ends well' is "$DAEMON_STATUS" 0
