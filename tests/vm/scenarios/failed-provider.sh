# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU is not held for a heap provider whose probe failed, and state.json has the message of the kernel
# limit: 120

FAILED="firmware:optee: the probe is to fail; probe with driver simtee failed with error -22"

# anew: unloads all modules, so that the GPU can be held again, as after a boot
anew() {
	[ ! -e /sys/module/csfgpu ] || need rmmod csfgpu
	[ ! -e "$CONFIG/$GPU" ] || need rmdir "$CONFIG/$GPU"
	[ ! -e /sys/module/simtee ] || need rmmod simtee
	need rmmod protheap
	load_protheap
}
# not_held: the binder has exited with status 0 and has not held the GPU
not_held() { is "$BINDER_STATUS $(state_of /gpus/0/reason) $(state_of /gpus/0/held_us)" '0 no-heap 0'; }
write() { protheap-guest write "$@"; }

load_protheap
load_tee fail=-22
check 'the TEE driver is loaded and not bound to its device' has_no_driver firmware:optee
run_binder
check 'a GPU is not held for a probe that failed before' not_held
check 'the binder leaves no binding for a provider that failed' absent "$CONFIG/$GPU"
check 'the candidate has the failure that the kernel logged' is "$(state_of /gpus/0/considered/0/outcome) $(state_of /gpus/0/considered/0/detail)" "absent $FAILED"
check 'the timeline has the failure of the provider' at_least "$(step_us provider-failed)" 1
check 'the binder logs the failure of the provider' grep -q 'heap provider firmware:optee failed to probe: the probe is to fail' /run/binder.log
check 'explain shows the failure of the provider' like "$(protheapctl explain)" '*firmware:optee (probe failed: the probe is to fail*no-heap*'
check 'status refers to dmesg' like "$(protheapctl)" '*dmesg*'
load_gpu
check 'the GPU probes at once' gpu_probed

anew
loaded=$(protheap-guest now)
load_tee delay_ms=1500 fail=-22
start_binder
check 'the GPU is held while the probe runs' is "$(attr state)" held
load_gpu
end_binder
check 'a probe that fails ends the hold' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '0 no-heap'
released=$(($(step_us hold-started) + $(state_of /gpus/0/held_us)))
check 'the GPU is held until the probe fails, 1.5 s after the driver was loaded' at_least $released $((loaded + 1500000))
check 'a probe that fails: the GPU is not held until the hold timeout' at_most "$(state_of /gpus/0/held_us)" 3500000
check 'the candidate has the failure of the probe that ended the hold' is "$(state_of /gpus/0/considered/0/detail)" "$FAILED"
check 'the GPU probes after the probe of the provider failed' wait_until 2 gpu_probed

anew
start_binder
check 'the GPU is held while the TEE driver is not loaded' is "$(attr state)" held
load_tee fail=-22
end_binder
check 'a driver that is loaded during the hold and fails to probe ends the hold' is "$(state_of /gpus/0/reason)" no-heap
check 'the failed driver ends the hold before its timeout' at_most "$(state_of /gpus/0/held_us)" 3500000

anew
load_tee fail=-22
need umount /sys/kernel/debug
run_binder
check 'without debugfs a GPU is not held for an OP-TEE that failed' not_held
need mount -t debugfs debugfs /sys/kernel/debug

anew
load_tee fail=-517
check 'the kernel has deferred the TEE' like "$(cat /sys/kernel/debug/devices_deferred)" '*firmware:optee*'
start_binder
sleep 0.5
check 'the GPU is held for a deferred probe' is "$(attr state)" held
need write /sys/module/simtee/parameters/fail 0
need write /sys/bus/platform/drivers_probe firmware:optee
end_binder
check 'the binder binds the heap of the provider that probed at last' is "$BINDER_STATUS $(attr state)" '0 bound'

anew
load_tee
need write /sys/bus/platform/drivers/simtee/unbind firmware:optee
run_binder
# Its heap still exists, and the binder allocates from it in a hold.
check 'the GPU is held for at most 1.5 s for a provider whose driver was unbound' at_most "$(state_of /gpus/0/held_us)" 1500000
check 'the binder reports the heap without its TEE as heap-dead' is "$(state_of /gpus/0/reason)" heap-dead
