# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel refuses a hold for a GPU whose probe is running, and a driver that was built with another protheap.h, and logs both

load_tee
load_protheap

# A driver that never attaches takes a second to probe, and the hold is requested meanwhile.
need mkdir "$CONFIG/$GPU"
modprobe csfgpu attach=0 probe_ms=1000 &
need wait_until 5 exists /sys/module/csfgpu
sleep 0.3
check 'the probe of the GPU is still running' holds /sys/module/csfgpu/initstate coming
check 'a reader of state does not block during a probe, and sees no driver' is "$(attr state) $(attr reason)" 'open '
check 'a hold waits for a running probe, and is refused because the probe has bound a driver' fails_with EBUSY store hold_ms 5000
check 'the driver is bound when the hold is refused' is "$(driver)" csfgpu
check 'the GPU is not held, and the kernel reports no-consumer' is "$(attr state) $(attr reason)" 'open no-consumer'
wait
need modprobe -r csfgpu
need rmdir "$CONFIG/$GPU"

# User space does not have to set the origin.
need mkdir "$CONFIG/$GPU"
need store commit none
check 'the kernel logs a commit without an origin, and no empty origin' is "$(dmesg | grep -c "$GPU: protheap: no protected memory$")" 1
need rmdir "$CONFIG/$GPU"

need mkdir "$CONFIG/$GPU"
need store heap protected,secure-video
need store firmware_bytes_wanted 262144
need store origin acme,a9
need store commit bind
check 'the kernel logs the policy of a binding' is "$(dmesg | grep -c 'protheap: bound to protected,secure-video by policy acme,a9$')" 1
load_gpu abi=2
check 'the kernel refuses a driver with another version of protheap.h' is "$(dmesg | grep -c "protheap: failed to attach the driver: it uses version 2 of protheap.h, this module has 1; rebuild the driver")" 1
check 'the kernel attaches a driver with the right version of protheap.h' is "$(attr state) $(gpu bound)" 'in-use 1'
