# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU whose supplier has no driver stays deferred when its hold ends, and the kernel logs no failure
# overlay: gpu-supplier

SUPPLIER=fdc40000.video-codec
load_video
need exists "$DEVICES/$SUPPLIER/driver"
load_protheap
need mkdir "$CONFIG/$GPU"
need store hold_ms 10000
load_gpu
check 'the GPU is held' has_no_driver
need protheap-guest write "/sys/bus/platform/drivers/$(driver $SUPPLIER)/unbind" $SUPPLIER
check 'the supplier of the GPU has no driver' has_no_driver $SUPPLIER
need store commit none
check 'the commit ends the hold' wait_until 5 is "$(attr state)" none
sleep 0.5
check 'the GPU does not probe while its supplier has no driver' has_no_driver
check 'the kernel logs no failure of the deferred probe' empty kernel_log "$ATTACH_FAILED"
need protheap-guest write /sys/bus/platform/drivers/simvideo/bind $SUPPLIER
check 'the GPU probes once its supplier has a driver' wait_until 5 gpu_probed
