# SPDX-License-Identifier: MIT OR Apache-2.0
# about: no protheap.ko, but a panthor with the parameter protected_heap_name: it is loaded with the heap's name
# board: rk3588 imx95 mt8196
# without: protheap

use_panthor parameter
load_model
load_tee delay_ms=1500
before=$(now_ms)
start_binder
waited=$(($(now_ms) - before))
end_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the boot waited for the heap' at_least "$waited" 1000
check 'and not to the end of the hold' at_most "$waited" 4500
check 'the delivery is told' is "$(state_of /delivery)" panthor-parameter
check 'the GPU is bound' ends bound ''
check 'to the heap of its policy' is "$(state_of /gpus/0/heap)" protected,secure-video
check 'which was judged' is "$(state_of /gpus/0/protection)" tee
check 'modprobe has the name' holds "$OPTIONS" 'options panthor protected_heap_name=protected,secure-video'
check 'and nothing else' is "$(ls -A /run/modprobe.d)" protheap-panthor.conf
check 'all may read it' is "$(stat -c %a "$OPTIONS")" 644
check 'the binder kept no buffer' is_zero given_out

# Before the driver is loaded, a decision can still change.
policy "$(state_of /policies/0)" </dev/null
policy default </dev/null
run_binder
check 'without a policy there is nothing to bind' ends unprotected no-policy
check 'and the name is taken back' absent "$OPTIONS"
rm -r /etc/protheap
run_binder --detach
check 'detached, it returns when all is decided' exists "$OPTIONS"
need wait_until 2 ends bound ''

start_daemon
check 'the daemon takes it over' ends bound adopted
load_panthor
keep_awake
check 'panthor was told' holds /sys/module/panthor/parameters/protected_heap_name protected,secure-video
check 'and probes' is "$(driver)" panthor
check 'its protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'as a whole' is "$(firmware_says protected-section-pages)" 64
check 'and all that the TEE has given out' is_count 262144 given_out
check 'the model has nothing to complain of' is "$(check_model)" fine
check 'the daemon sees that it probed' wait_until 2 is_count panthor state_of /gpus/0/driver
check 'and that nothing else changed' ends bound adopted
check 'protheapd logs no complaint' empty complaints
stop_daemon

# And afterwards it may not.
run_binder
check 'a binder that comes later finds it' ends bound adopted
check 'and leaves the file' exists "$OPTIONS"
rm "$OPTIONS"
run_binder
check 'which is not needed for that' ends bound adopted
check 'nor written' absent "$OPTIONS"

need rmmod panthor
check 'unloaded, panthor gives all back' wait_until 2 is_zero given_out
