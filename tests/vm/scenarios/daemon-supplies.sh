# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU's firmware wants larger suspend buffers than the policy says: the daemon hands them over
# source: handed

load_tee
load_protheap
run_binder
need is "$(attr state) $(attr suspend_free)" 'bound 16'
load_gpu suspend_bytes=131072
check 'the small ones are let go' is "$(attr suspend_bytes) $(attr suspend_free)" '131072 0'
check 'and as many large ones are wanted' is "$(attr suspend_wanted)" 16
begin=$(now_ms)
check 'without a daemon there is no group' fails_with ENOBUFS create_group
check 'after a short wait' at_most $(($(now_ms) - begin)) $((250 * SLOW))
check 'and nothing else breaks' is "$(attr state) $(gpu bound)" 'in-use 1'

start_daemon
check 'a daemon that starts catches up' wait_until 2 holds "$CONFIG/$GPU/suspend_free" 16
check 'no more than wanted' is "$(attr suspend_wanted) $(buffers)" '0 17'
check 'a group gets one' create_group
check 'state.json says what the firmware wants' is "$(state_of /gpus/0/suspend_bytes)" 131072

stop_daemon KILL
need modprobe -r csfgpu
load_gpu suspend_bytes=262144
check 'a daemon that was killed is missed' fails_with ENOBUFS create_group
start_daemon
check 'until it is started again' wait_until 2 holds "$CONFIG/$GPU/suspend_free" 16
need modprobe -r csfgpu
load_gpu suspend_bytes=524288
check 'a daemon that runs is told' wait_until 2 holds "$CONFIG/$GPU/suspend_wanted" 0
check 'by its own word' at_least "$(step_us supplied)" 1
check 'a group gets one' create_group

need modprobe -r csfgpu
load_gpu suspend_bytes=16777216
check 'a heap that is too small is told of' wait_until 2 grep -q 'failed to allocate 16777216 bytes' /run/daemon.log
spent=$(daemon_ms)
sleep 3
# A state line repeats the reason in parentheses if the state has changed in between.
check 'the failed allocation is logged once' is "$(log_count ': failed to allocate')" 1
check 'and tried again, now and then' at_most $(($(daemon_ms) - spent)) $((200 * SLOW))
check 'the GPU keeps its firmware buffer' is "$(attr state) $(gpu bound)" 'in-use 1'
stop_daemon
check 'the daemon ends well' is "$DAEMON_STATUS" 0
