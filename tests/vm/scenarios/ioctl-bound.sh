# SPDX-License-Identifier: MIT OR Apache-2.0
# about: without protheap.ko, the daemon sets the firmware buffer in a running panthor by ioctl, and protected jobs run
# linux: 7.2, 7.3
# board: rk3588 imx95 mt8196
# tee: sim, static
# without: protheap
# limit: 60

HEAP=protected,secure-video
query_says() { panthor query | sed -n "s/^protected-$1 //p"; }
load_model
load_tee
load_panthor
keep_awake
check 'panthor probes without protected memory' is "$(driver) $(firmware_says protected-section)" 'panthor none'
check 'the firmware has booted once' is "$(model boots)" 1
check 'protheap.ko does not exist' fails modprobe protheap
check 'the query reports that panthor takes a buffer' is "$(query_says takes-buffer)" yes

start_daemon
check 'the daemon is ready when the buffer is set' ends in-use ''
check 'state.json reports the delivery ioctl' is "$(state_of /delivery) $(state_of /gpus/0/delivery)" 'ioctl ioctl'
check 'state.json reports the heap' is "$(state_of /gpus/0/heap)" $HEAP
check 'state.json reports the sizes of the driver' is "$(state_of /gpus/0/firmware_bytes) $(state_of /gpus/0/suspend_bytes)" '262144 65536'
check 'setting the buffer boots the firmware once more' is "$(model boots)" 2
check 'all 64 pages of the protected section are in the carve-out' is "$(firmware_says protected-section) $(firmware_says protected-section-pages)" 'carve-out 64'
check 'the firmware has prepared protected mode' is "$(firmware_says prepared)" 1
check 'the query reports that panthor has a buffer' is "$(query_says has-buffer)" yes
check 'the firmware buffer is the only one' is "$(buffers)" 1

check 'ordinary jobs run' is "$(panthor job --count 20)" 'jobs 20/20'
check 'protected jobs run with a suspend buffer of the client' is "$(panthor protected-job --own-suspend --count 20)" 'protected-jobs 20/20'
check 'each protected job writes to protected memory' at_least "$(model protected-accesses)" 20
check 'the suspend buffers of the client are freed' wait_until 5 is_count 1 buffers
check 'no further boot of the firmware was necessary' is "$(model boots)" 2

say 'the daemon is restarted'
stop_daemon
check 'the daemon leaves the buffer when it is stopped' is "$(query_says has-buffer)" yes
start_daemon
check 'the next daemon adopts the buffer' wait_until 5 ends in-use adopted
check 'the next daemon reports the heap' is "$(state_of /gpus/0/heap)" $HEAP
check 'adoption does not reset the GPU' is "$(model boots) $(buffers)" '2 1'
stop_daemon KILL
rm $STATE
start_daemon
check 'a daemon that does not know the heap replaces the buffer' wait_until 5 ends in-use ''
check 'the buffer is replaced by two resets' is "$(model boots) $(buffers)" '4 1'

say 'the driver is rebound'
need unbind_gpu panthor
check 'unbinding releases the buffer' wait_until 5 is_count 0 buffers
check 'the state without a driver is unprotected' wait_until 5 is_count unprotected state_of /gpus/0/state
need bind_gpu panthor
check 'a driver that is bound again gets a buffer' wait_until 5 ends in-use ''
keep_awake
check 'protected jobs run after the rebind' is "$(panthor protected-job --own-suspend)" 'protected-jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
stop_daemon
check 'protheapd logs no unexpected line' empty complaints
