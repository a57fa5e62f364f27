# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU is held for an OP-TEE on the FF-A bus, which neither a device-tree node nor a module alias names, until its module is loaded
# tee: ffa
# source: kernel, handed

need modprobe ffa-module
check 'FF-A: OP-TEE is a device on the bus' exists "/sys/bus/arm_ffa/devices/$OPTEE"
say "$(dmesg | grep -i 'ARM FF-A' | tail -n 1), UUID $(cat "/sys/bus/arm_ffa/devices/$OPTEE/uuid")"
check 'FF-A: no module alias names the OP-TEE driver' empty matching /lib/modules/*/modules.alias arm_ffa
load_protheap
start_binder
check 'FF-A: the GPU is held while the OP-TEE module is not loaded' is "$(attr state)" held
load_gpu
check 'FF-A: the GPU does not probe while it is held' has_no_driver
need modprobe optee
end_binder
check 'FF-A: the binder exits with status 0' is "$BINDER_STATUS" 0
check 'FF-A: the GPU probes' wait_until 2 gpu_probed
check 'FF-A: the GPU uses its protected buffers' is "$(attr state) $(attr heap)" 'in-use protected,secure-video'
check 'FF-A: the binding has the 12 suspend buffers that fit a pool of 1 MiB' is "$(state_of /gpus/0/suspend_buffers)" 12
check 'FF-A: the hold ends before its timeout' at_most "$(state_of /gpus/0/held_us)" 4500000
