# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a heap that has memory for only some suspend buffers is bound with those, because suspend.count is a maximum
# source: kernel, handed
# limit: 60

# The size of OP-TEE's pool in its default build.
load_tee size=1048576
load_protheap
start_binder
load_gpu
end_binder
check 'the binder exits with status 0 for a pool of 1 MiB' is "$BINDER_STATUS" 0
check 'the GPU driver uses the binding with fewer buffers' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'the binding has the 12 suspend buffers that fit beside the firmware buffer' is "$(attr suspend_free) $(attr suspend_count)" '12 16'
check 'the binding uses every byte of the pool' is "$(given_out)" 1048576
check 'state.json reports state bound or in-use' like "$(state_of /gpus/0/state)" '[bi][on]*[de]'
check 'state.json has the number and the maximum of suspend buffers' is "$(state_of /gpus/0/suspend_buffers) $(state_of /gpus/0/suspend_count)" '12 16'
check 'state.json has the reason for the missing suspend buffers' like "$(state_of /gpus/0/suspend_shortage)" 'failed to allocate 65536 bytes from /dev/dma_heap/protected,secure-video: *'
check 'the candidate with fewer buffers has outcome bound' is "$(state_of /gpus/0/considered/0/outcome)" bound
check 'the candidate has the number of suspend buffers' like "$(state_of /gpus/0/considered/0/detail)" 'exporter tee; 12 of 16 suspend buffers: *'
check 'the binder logs the number of suspend buffers' grep -q "$GPU: allocated 12 of 16 suspend buffers: failed to allocate" /run/binder.log
check 'the kernel logs the number of suspend buffers' like "$(dmesg)" '*protheap: got 12 of 16 suspend buffers of 65536 bytes*'
check 'status shows the number of suspend buffers and the reason' like "$(protheapctl)" '*: 12 allocated, 12 free, 0 in use*shortage *failed to allocate 65536 bytes*'
i=0
while [ $i -lt 12 ]; do
	need create_group
	i=$((i + 1))
done
check 'twelve protected groups have a suspend buffer each' is "$(attr suspend_in_use)" 12
check 'a thirteenth protected group gets no suspend buffer' fails_with ENOBUFS create_group

start_daemon
check 'the daemon adopts the binding' is "$(attr state) $(state_of /gpus/0/suspend_buffers)" 'in-use 12'
check 'the daemon reports the reason for the missing suspend buffers' like "$(state_of /gpus/0/suspend_shortage)" 'failed to allocate 65536 bytes from *'
check 'the daemon logs the number of suspend buffers' grep -q "in-use: protected,secure-video.* with 12 of 16 suspend buffers" "$DAEMON_LOG"
check 'the daemon reports no preferred heap under the same policy' next_is none
stop_daemon
need modprobe -r csfgpu
need rmdir "$CONFIG/$GPU"
check 'the TEE has all memory back' wait_until 2 is_zero given_out
need rmmod simtee

load_tee size=327680
run_binder
check 'the binder binds a heap with memory for one suspend buffer' is "$BINDER_STATUS $(attr state) $(attr suspend_free)" '0 bound 1'
need rmdir "$CONFIG/$GPU"
need rmmod simtee

load_tee size=262144
run_binder
check 'the binder rejects a heap with memory for the firmware buffer only' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '1 heap-too-small'
check 'the candidate has the error of the rejected allocation' like "$(state_of /gpus/0/considered/0/detail)" '*Cannot allocate memory*'
check 'no buffer stays allocated' wait_until 2 is_zero given_out
[ ! -e "$CONFIG/$GPU" ] || need rmdir "$CONFIG/$GPU"
policy radxa,rock-5b <<-END
	schema = 1
	[gpu."arm,mali-valhall-csf"]
	suspend = { count = 0 }
END
run_binder
check 'the binder binds without suspend buffers if the policy requests none' is "$BINDER_STATUS $(attr state) $(attr suspend_free)" '0 bound 0'
check 'state.json reports no shortage if the policy requests no suspend buffers' is "$(state_of /gpus/0/suspend_buffers) $(state_of /gpus/0/suspend_shortage)" '0 null'
