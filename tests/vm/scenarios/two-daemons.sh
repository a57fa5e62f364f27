# SPDX-License-Identifier: MIT OR Apache-2.0
# about: of two daemons at the same time, only one performs each action, and the other continues when one is killed
# source: kernel, handed
# limit: 60

bound() { is "$(attr state) $(state_of /gpus/0/state)" 'bound bound'; }
lost() { absent "$CONFIG/$GPU" && ends failed heap-dead; }

load_protheap
load_tee delay_ms=2000
start_daemon
first=$DAEMON
start_daemon
check 'the daemons bind the heap when it appears' wait_until 10 bound
check 'the daemons bind the heap once' is "$(attr suspend_free) $(buffers)" '16 17'
load_gpu suspend_bytes=131072
check 'the daemons hand over larger suspend buffers' wait_until 10 is_count 16 attr suspend_free
check 'the daemons hand over only the requested buffers' is "$(attr suspend_wanted) $(buffers)" '0 17'
need create_group
need modprobe -r csfgpu
need wait_until 10 bound
drop_tee
check 'the daemons withdraw the binding when the TEE is gone' wait_until 10 lost
restore_tee
check 'the daemons bind again when the TEE is back' wait_until 10 bound
check 'the daemons bind again once' wait_until 5 is_count 17 buffers

need kill -KILL "$first"
wait "$first"
drop_tee
check 'the remaining daemon withdraws the binding when the TEE is gone' wait_until 10 lost
restore_tee
check 'the remaining daemon binds when the TEE is back' wait_until 10 bound
check 'the remaining daemon binds once' wait_until 5 is_count 17 buffers
check 'state.json is complete after a daemon was killed' is "$(state_of /schema)" 1
check 'protheapd logs no unexpected line' empty complaints
stop_daemon
check 'the remaining daemon exits with status 0' is "$DAEMON_STATUS" 0
