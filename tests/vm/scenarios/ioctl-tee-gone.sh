# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the firmware buffer that was set by ioctl is taken back when the TEE goes, as soon as no protected group exists, and set again when the TEE is back
# linux: 7.2, 7.3
# tee: sim, static, dynamic-8m
# without: protheap
# limit: 90

HEAP=protected,secure-video
query_says() { panthor query | sed -n "s/^protected-$1 //p"; }
# The work item that unregisters the TEE exists as long as it waits.
waits() { grep -qs tee_device_unregister /proc/[0-9]*/stack; }
ended() { ! waits && fails_with EINVAL protheap-guest alloc $HEAP 4096; }

load_model
load_tee
load_panthor
keep_awake
start_daemon
check 'the daemon sets the buffer' ends in-use ''
drop_tee
check 'the TEE does not wait for the firmware buffer' wait_until 5 ended
check 'state.json reports state failed and reason heap-dead' wait_until 5 ends failed heap-dead
check 'the buffer is taken back by one reset' is "$(model boots) $(firmware_says protected-section)" '3 none'
check 'no buffer is left' is "$(buffers)" 0
check 'ordinary jobs run without the TEE' is "$(panthor job --count 5)" 'jobs 5/5'
restore_tee
check 'the daemon sets a buffer when the TEE is back' wait_until 5 ends in-use ''
check 'protected jobs run when the TEE is back' is "$(panthor protected-job --own-suspend --count 3)" 'protected-jobs 3/3'

say 'a protected group exists when the TEE goes'
boots=$(model boots)
keep_groups 1 --protected --own-suspend
drop_tee
check 'state.json reports the GPU as heap-dead' wait_until 5 ends failed heap-dead
check 'the driver keeps the buffer while a protected group exists' is "$(query_says has-buffer)" yes
check 'the daemon logs once that the driver refuses' is "$(log_count 'failed to take the firmware buffer back')" 1
sleep 2.5
check 'the driver keeps the buffer after further attempts' is "$(query_says has-buffer)" yes
check 'the daemon logs no further refusal' is "$(log_count 'failed to take the firmware buffer back')" 1
check 'a refused attempt does not reset the GPU' is "$(model boots)" "$boots"
check 'the TEE waits for the buffers' waits
release_groups
check 'the TEE is removed when the last protected group is gone' wait_until 5 ended
check 'no buffer is left after the last protected group' is "$(buffers)" 0
check 'the buffer is taken back by one reset after the last protected group' is "$(model boots)" $((boots + 1))
restore_tee
check 'the daemon sets a buffer when the TEE is back again' wait_until 5 ends in-use ''
check 'protected jobs run again' is "$(panthor protected-job --own-suspend --count 3)" 'protected-jobs 3/3'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
stop_daemon
# A driver that is unbound has no device.
check 'protheapd logs no unexpected line except the refusal and the unbound provider' empty complaints 'failed to take the firmware buffer back|provider firmware:optee failed to probe: .*, or was unbound'
