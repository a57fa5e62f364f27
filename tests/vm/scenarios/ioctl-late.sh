# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon sets the firmware buffer in a running panthor when the heap appears, and when the driver does
# linux: 7.2, 7.3
# tee: sim, static
# without: protheap
# limit: 60

load_model
start_daemon
check 'without a driver and a heap, the GPU is unprotected' ends unprotected no-heap
load_panthor
keep_awake
check 'the daemon detects the delivery when the driver is bound' wait_until 5 is_count ioctl state_of /delivery
check 'without a heap, the GPU is unprotected' wait_until 5 is_count unprotected state_of /gpus/0/state
check 'nothing was set' is "$(model boots) $(buffers)" '1 0'
check 'ordinary jobs run' is "$(panthor job --count 5)" 'jobs 5/5'
keep_groups 3 --job
load_tee
check 'the daemon sets the buffer when the heap appears' wait_until 5 ends in-use ''
check 'the late buffer resets the GPU once' is "$(model boots)" 2
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
release_groups
check 'groups from before the reset run a second job' is "$(groups_said)" 'groups 3, jobs 3/3, jobs 3/3, destroyed 3/3'
check 'protected jobs run' is "$(panthor protected-job --own-suspend --count 3)" 'protected-jobs 3/3'

say 'the driver comes last'
need rmmod panthor
check 'unloading the driver releases the buffer' wait_until 5 is_count 0 buffers
load_panthor
keep_awake
check 'the daemon sets a buffer in the driver that is loaded again' wait_until 5 ends in-use ''
check 'protected jobs run in the driver that is loaded again' is "$(panthor protected-job --own-suspend --count 3)" 'protected-jobs 3/3'
stop_daemon

say 'the binder finds the driver bound'
need rmmod panthor
rm -r /run/protheap
load_panthor
keep_awake
boots=$(model boots)
run_binder
check 'the binder exits with 0' is "$BINDER_STATUS" 0
check 'the binder sets the buffer in a driver that is bound' is "$(state_of /delivery) $(state_of /gpus/0/state)" 'ioctl in-use'
check 'the buffer of the binder resets the GPU once' is "$(model boots)" $((boots + 1))
start_daemon
check 'the daemon adopts the buffer of the binder' wait_until 5 ends in-use adopted
check 'adoption of the buffer of the binder does not reset the GPU' is "$(model boots)" $((boots + 1))
check 'the simulated GPU reports no violation' is "$(check_model)" fine
stop_daemon
check 'protheapd logs no unexpected line' empty complaints
