# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the firmware requests larger suspend buffers than the policy: the daemon hands them over
# source: handed

load_tee
load_protheap
run_binder
need is "$(attr state) $(attr suspend_free)" 'bound 16'
load_gpu suspend_bytes=131072
check 'the kernel frees suspend buffers that are too small' is "$(attr suspend_bytes) $(attr suspend_free)" '131072 0'
check 'the kernel requests as many large suspend buffers' is "$(attr suspend_wanted)" 16
begin=$(now_ms)
check 'without a daemon, a group gets no suspend buffer' fails_with ENOBUFS create_group
check 'a group waits a short time for a suspend buffer' at_most $(($(now_ms) - begin)) $((250 * SLOW))
check 'the binding remains in use when a group got no buffer' is "$(attr state) $(gpu bound)" 'in-use 1'

start_daemon
check 'a daemon that starts hands the requested buffers over' wait_until 2 holds "$CONFIG/$GPU/suspend_free" 16
check 'the daemon hands over as many buffers as requested' is "$(attr suspend_wanted) $(buffers)" '0 17'
check 'a group gets a large suspend buffer' create_group
check 'state.json has the size that the firmware requests' is "$(state_of /gpus/0/suspend_bytes)" 131072

stop_daemon KILL
need modprobe -r csfgpu
load_gpu suspend_bytes=262144
check 'a group gets no larger buffer after the daemon was killed' fails_with ENOBUFS create_group
start_daemon
check 'the restarted daemon hands the larger buffers over' wait_until 2 holds "$CONFIG/$GPU/suspend_free" 16
need modprobe -r csfgpu
load_gpu suspend_bytes=524288
check 'a running daemon hands over buffers when the firmware requests them' wait_until 2 holds "$CONFIG/$GPU/suspend_wanted" 0
check 'the timeline has the supplied buffers' at_least "$(step_us supplied)" 1
check 'a group gets a buffer that a running daemon has handed over' create_group

need modprobe -r csfgpu
load_gpu suspend_bytes=16777216
check 'the daemon logs that the heap is too small' wait_until 2 grep -q 'failed to allocate 16777216 bytes' /run/daemon.log
spent=$(daemon_ms)
sleep 3
# A state line repeats the reason in parentheses if the state has changed in between.
check 'the daemon logs the failed allocation once' is "$(log_count ': failed to allocate')" 1
check 'the retries of the allocation take the daemon at most 200 ms in 3 s' at_most $(($(daemon_ms) - spent)) $((200 * SLOW))
check 'the GPU keeps its firmware buffer' is "$(attr state) $(gpu bound)" 'in-use 1'
stop_daemon
check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0
