# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a heap with memory for some of the suspend buffers is bound with those: suspend.count is a maximum
# source: kernel, handed
# limit: 60

# The pool of OP-TEE as it is built by default.
load_tee size=1048576
load_protheap
start_binder
load_gpu
end_binder
check 'the binder binds a pool of 1 MiB' is "$BINDER_STATUS" 0
check 'the GPU driver uses it' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'the binding has the 12 suspend buffers that fit beside the firmware buffer' is "$(attr suspend_free) $(attr suspend_count)" '12 16'
check 'every byte of the pool is used' is "$(given_out)" 1048576
check 'state.json has no failure' like "$(state_of /gpus/0/state)" '[bi][on]*[de]'
check 'state.json has the number and the maximum' is "$(state_of /gpus/0/suspend_buffers) $(state_of /gpus/0/suspend_count)" '12 16'
check 'state.json has the reason' like "$(state_of /gpus/0/suspend_shortage)" 'failed to allocate 65536 bytes from /dev/dma_heap/protected,secure-video: *'
check 'the candidate is bound' is "$(state_of /gpus/0/considered/0/outcome)" bound
check 'its detail has the numbers' like "$(state_of /gpus/0/considered/0/detail)" 'exporter tee; 12 of 16 suspend buffers: *'
check 'the binder logs it' grep -q "$GPU: allocated 12 of 16 suspend buffers: failed to allocate" /run/binder.log
check 'the kernel logs it' like "$(dmesg)" '*protheap: got 12 of 16 suspend buffers of 65536 bytes*'
check 'status shows it' like "$(protheapctl)" '*: 12 allocated, 12 free, 0 in use*shortage *failed to allocate 65536 bytes*'
i=0
while [ $i -lt 12 ]; do
	need create_group
	i=$((i + 1))
done
check 'twelve groups get a buffer' is "$(attr suspend_in_use)" 12
check 'a thirteenth gets none' fails_with ENOBUFS create_group

start_daemon
check 'the daemon adopts the binding' is "$(attr state) $(state_of /gpus/0/suspend_buffers)" 'in-use 12'
check 'the daemon has the reason' like "$(state_of /gpus/0/suspend_shortage)" 'failed to allocate 65536 bytes from *'
check 'the daemon logs the numbers' grep -q "in-use: protected,secure-video.* with 12 of 16 suspend buffers" "$DAEMON_LOG"
check 'nothing better is seen in the same policy' next_is none
stop_daemon
need modprobe -r csfgpu
need rmdir "$CONFIG/$GPU"
check 'every byte comes back' wait_until 2 is_zero given_out
need rmmod simtee

load_tee size=327680
run_binder
check 'one suspend buffer is enough' is "$BINDER_STATUS $(attr state) $(attr suspend_free)" '0 bound 1'
need rmdir "$CONFIG/$GPU"
need rmmod simtee

load_tee size=262144
run_binder
check 'the firmware buffer alone is too little' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '1 heap-too-small'
check 'the candidate says what was refused' like "$(state_of /gpus/0/considered/0/detail)" '*Cannot allocate memory*'
check 'nothing stays allocated' wait_until 2 is_zero given_out
[ ! -e "$CONFIG/$GPU" ] || need rmdir "$CONFIG/$GPU"
policy radxa,rock-5b <<-END
	schema = 1
	[gpu."arm,mali-valhall-csf"]
	suspend = { count = 0 }
END
run_binder
check 'unless the policy allows no suspend buffer' is "$BINDER_STATUS $(attr state) $(attr suspend_free)" '0 bound 0'
check 'that is no shortage' is "$(state_of /gpus/0/suspend_buffers) $(state_of /gpus/0/suspend_shortage)" '0 null'
