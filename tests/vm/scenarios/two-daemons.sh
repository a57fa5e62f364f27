# SPDX-License-Identifier: MIT OR Apache-2.0
# about: two daemons at the same time: each thing is done once, and when one is killed, the other goes on
# source: kernel, handed
# limit: 60

bound() { is "$(attr state) $(state_of /gpus/0/state)" 'bound bound'; }
lost() { absent "$CONFIG/$GPU" && ends failed heap-dead; }

load_protheap
load_tee delay_ms=2000
start_daemon
first=$DAEMON
start_daemon
check 'the heap comes, and is bound' wait_until 10 bound
check 'once' is "$(attr suspend_free) $(buffers)" '16 17'
load_gpu suspend_bytes=131072
check 'larger suspend buffers are there' wait_until 10 is_count 16 attr suspend_free
check 'no more than wanted' is "$(attr suspend_wanted) $(buffers)" '0 17'
need create_group
need modprobe -r csfgpu
need wait_until 10 bound
drop_tee
check 'the TEE goes, and the binding with it' wait_until 10 lost
restore_tee
check 'it comes back, and so does the binding' wait_until 10 bound
check 'once' wait_until 5 is_count 17 buffers

need kill -KILL "$first"
wait "$first"
drop_tee
check 'the other notices alone' wait_until 10 lost
restore_tee
check 'and binds' wait_until 10 bound
check 'once' wait_until 5 is_count 17 buffers
check 'state.json is whole' is "$(state_of /schema)" 1
check 'protheapd logs no complaint' empty complaints
stop_daemon
check 'it ends well' is "$DAEMON_STATUS" 0
