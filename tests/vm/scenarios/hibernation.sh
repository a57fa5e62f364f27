# SPDX-License-Identifier: MIT OR Apache-2.0
# about: hibernation: no image has a protected buffer in it, the machine powers off, and the GPU is bound again after
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
# hibernate MODE: of /sys/power/disk; prints the errno's name and fails, if it does
hibernate() { protheap-guest write /sys/power/disk "$1" && protheap-guest write /sys/power/state disk; }
logged() { dmesg | grep -cF "$1"; }
bound_again() { is "$(attr state) $(attr suspend_free) $(gpu bound) $(given_out)" "in-use 3 1 $BYTES"; }

check 'without protheap an image is taken and restored' hibernate test_resume
load_tee
load_protheap
load_gpu
check 'with a driver and no binding as well' hibernate test_resume
need modprobe -r csfgpu
make_binding $HEAP 65536 3
check 'with a binding and no driver' hibernate test_resume
check 'which has its buffers again' wait_until 5 is_count 3 attr suspend_free
check 'and is bound' is "$(attr state) $(given_out)" "bound $BYTES"

load_gpu
need create_group
from=$(logged 'protheap: failed to prepare for hibernation')
check 'a protected group keeps the machine awake' fails_with EBUSY hibernate test_resume
check 'the log names driver and device' is "$(dmesg | grep -c "csfgpu $GPU: protheap: failed to prepare for hibernation: driver csfgpu holds 1 suspend buffers")" 1
check 'the group is as before' is "$(attr state) $(attr suspend_in_use)" 'in-use 1'
need destroy_group
check 'so is the binding' wait_until 5 bound_again
bounds=$(gpu late_bounds)
check 'without a group the image is taken and restored' hibernate test_resume
check 'and the driver has its buffers again' wait_until 5 bound_again
check 'of which it was notified' is "$(gpu late_bounds)" $((bounds + 1))

need modprobe -r csfgpu
load_gpu release=0
check 'a driver that does not release its buffer keeps the machine awake' fails_with EBUSY hibernate test_resume
check 'the log says what to do' is "$(logged 'driver csfgpu holds 1 protected buffers and does not release them; unbind the driver')" 1
check 'the driver has its buffers' wait_until 5 bound_again
need modprobe -r csfgpu
load_gpu

# From here on in the second boot.
check 'the machine is powered off, and the next boot restores it' hibernate shutdown
check 'the driver has its buffers again there' wait_until 5 bound_again
need create_group
check 'a protected group has one of them' is "$(attr suspend_in_use)" 1
