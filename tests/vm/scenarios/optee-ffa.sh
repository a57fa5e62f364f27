# SPDX-License-Identifier: MIT OR Apache-2.0
# about: OP-TEE on the FF-A bus, which no device-tree node and no alias names: GPU is held until its module is loaded
# tee: ffa
# source: kernel, handed

need modprobe ffa-module
check 'FF-A: OP-TEE is a partition on the bus' exists "/sys/bus/arm_ffa/devices/$OPTEE"
say "$(dmesg | grep -i 'ARM FF-A' | tail -n 1), UUID $(cat "/sys/bus/arm_ffa/devices/$OPTEE/uuid")"
check 'FF-A: no alias leads to its driver' empty matching /lib/modules/*/modules.alias arm_ffa
load_protheap
start_binder
check 'FF-A: GPU is held while the module is only installed' is "$(attr state)" held
load_gpu
check 'FF-A: GPU does not probe' has_no_driver
need modprobe optee
end_binder
check 'FF-A: binder ends well' is "$BINDER_STATUS" 0
check 'FF-A: GPU probes' wait_until 2 gpu_probed
check 'FF-A: with its protected buffers' is "$(attr state) $(attr heap)" 'in-use protected,secure-video'
check 'FF-A: as many suspend buffers as a pool of 1 MiB has' is "$(state_of /gpus/0/suspend_buffers)" 12
check 'FF-A: hold ended before its timeout' at_most "$(state_of /gpus/0/held_us)" 4500000
