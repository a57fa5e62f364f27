# SPDX-License-Identifier: MIT OR Apache-2.0
# about: no hibernation image contains a protected buffer, and after a hibernation the GPU is bound again
# source: kernel
# disk: 512
# boots: 2
# cmdline: resume=/dev/vda
# limit: 90
# says: protheap: released 4 protected buffers for hibernation
# says: simtee: shut down with 0 bytes given out
# says: reboot: Power down

HEAP=protected,secure-video
BYTES=$((262144 + 3 * 65536))
need mkswap /dev/vda
need swapon /dev/vda
# hibernate MODE: hibernates in that mode of /sys/power/disk; if it fails, prints the name of the errno and fails
hibernate() { protheap-guest write /sys/power/disk "$1" && protheap-guest write /sys/power/state disk; }
logged() { dmesg | grep -cF "$1"; }
bound_again() { is "$(attr state) $(attr suspend_free) $(gpu bound) $(given_out)" "in-use 3 1 $BYTES"; }

check 'the kernel takes and restores an image without protheap' hibernate test_resume
load_tee
load_protheap
load_gpu
check 'the kernel takes and restores an image with a GPU driver and no binding' hibernate test_resume
need modprobe -r csfgpu
make_binding $HEAP 65536 3
check 'the kernel takes and restores an image with a binding and no GPU driver' hibernate test_resume
check 'the binding has its suspend buffers again' wait_until 5 is_count 3 attr suspend_free
check 'the binding is bound again with all its memory' is "$(attr state) $(given_out)" "bound $BYTES"

load_gpu
need create_group
from=$(logged 'protheap: failed to prepare for hibernation')
check 'a protected group prevents hibernation' fails_with EBUSY hibernate test_resume
check 'the kernel logs the driver and the device that prevent hibernation' is "$(dmesg | grep -c "csfgpu $GPU: protheap: failed to prepare for hibernation: driver csfgpu holds 1 suspend buffers")" 1
check 'the protected group is unchanged after the refused hibernation' is "$(attr state) $(attr suspend_in_use)" 'in-use 1'
need destroy_group
check 'the binding is in use again after the refused hibernation' wait_until 5 bound_again
bounds=$(gpu late_bounds)
check 'the kernel takes and restores an image when the group is destroyed' hibernate test_resume
check 'the driver has its buffers again after hibernation' wait_until 5 bound_again
check 'the driver was notified of its buffers once' is "$(gpu late_bounds)" $((bounds + 1))

need modprobe -r csfgpu
load_gpu release=0
check 'a driver that does not release its buffer prevents hibernation' fails_with EBUSY hibernate test_resume
check 'the kernel logs a remedy for a driver that does not release its buffer' is "$(logged 'driver csfgpu holds 1 protected buffers and does not release them; unbind the driver')" 1
check 'the driver has its buffers again after hibernation was refused' wait_until 5 bound_again
need modprobe -r csfgpu
load_gpu

# The rest runs in the second boot.
check 'the machine powers off, and the next boot restores it' hibernate shutdown
check 'the driver has its buffers again in the next boot' wait_until 5 bound_again
need create_group
check 'a protected group has a suspend buffer in the next boot' is "$(attr suspend_in_use)" 1
