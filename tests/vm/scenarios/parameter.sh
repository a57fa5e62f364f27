# SPDX-License-Identifier: MIT OR Apache-2.0
# about: without protheap.ko, the binder sets the heap name as a parameter of panthor, and panthor is loaded with it
# board: rk3588 imx95 mt8196
# without: protheap

use_panthor parameter
load_model
load_tee delay_ms=1500
before=$(now_ms)
start_binder
waited=$(($(now_ms) - before))
end_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'the boot waits for the heap' at_least "$waited" 1000
check 'the boot does not wait for the hold timeout' at_most "$waited" 4500
check 'state.json reports the delivery as panthor-parameter' is "$(state_of /delivery)" panthor-parameter
check 'state.json reports state bound' ends bound ''
check 'state.json has the heap of the policy' is "$(state_of /gpus/0/heap)" protected,secure-video
check 'state.json reports the protection as tee' is "$(state_of /gpus/0/protection)" tee
check 'the binder sets the heap name for modprobe' holds "$OPTIONS" 'options panthor protected_heap_name=protected,secure-video'
check 'the binder writes no other file for modprobe' is "$(ls -A /run/modprobe.d)" protheap-panthor.conf
check 'all users can read the option for modprobe' is "$(stat -c %a "$OPTIONS")" 644
check 'the binder keeps no buffer' is_zero given_out

# The selection can change until the driver is loaded.
policy "$(state_of /policies/0)" </dev/null
policy default </dev/null
run_binder
check 'the binder reports no-policy when the policies are masked' ends unprotected no-policy
check 'the binder removes the option when the policies are masked' absent "$OPTIONS"
rm -r /etc/protheap
run_binder --detach
check 'the binder with --detach returns when the option is set' exists "$OPTIONS"
need wait_until 2 ends bound ''

start_daemon
check 'the daemon adopts the binding' ends bound adopted
load_panthor
keep_awake
check 'panthor is loaded with the heap name' holds /sys/module/panthor/parameters/protected_heap_name protected,secure-video
check 'panthor probes' is "$(driver)" panthor
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'all 64 pages of the protected section are in the carve-out' is "$(firmware_says protected-section-pages)" 64
check 'the firmware buffer is the only allocation of the TEE' is_count 262144 given_out
check 'the simulated GPU reports no violation' is "$(check_model)" fine
check 'the daemon reports that panthor has probed' wait_until 2 is_count panthor state_of /gpus/0/driver
check 'the daemon leaves the state as it is' ends bound adopted
check 'protheapd logs no unexpected line' empty complaints
stop_daemon

# Once the driver is loaded, the selection is final.
run_binder
check 'a later binder adopts the binding' ends bound adopted
check 'a later binder leaves the option as it is' exists "$OPTIONS"
rm "$OPTIONS"
run_binder
check 'a later binder adopts the binding without the option' ends bound adopted
check 'a later binder does not set the option again' absent "$OPTIONS"

need rmmod panthor
check 'panthor frees its buffer when it is unloaded' wait_until 2 is_zero given_out
