# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a driver that probes while user space opens a hold, and one that has another protheap.h; what the log says

load_tee
load_protheap

# A driver that never attaches is probed for a second, and the hold comes in the middle.
need mkdir "$CONFIG/$GPU"
modprobe csfgpu attach=0 probe_ms=1000 &
need wait_until 5 exists /sys/module/csfgpu
sleep 0.3
check 'the probe has not ended' holds /sys/module/csfgpu/initstate coming
check 'who reads meanwhile does not wait, and sees no driver' is "$(attr state) $(attr reason)" 'open '
check 'a hold waits for a probe that runs, and is refused as it bound a driver' fails_with EBUSY store hold_ms 5000
check 'the driver is bound by then' is "$(driver)" csfgpu
check 'nothing is held' is "$(attr state) $(attr reason)" 'open no-consumer'
wait
need modprobe -r csfgpu
need rmdir "$CONFIG/$GPU"

# Who decided may not be known.
need mkdir "$CONFIG/$GPU"
need store commit none
check 'a decision without an origin is logged without a dangling word' is "$(dmesg | grep -c "$GPU: protheap: no protected memory$")" 1
need rmdir "$CONFIG/$GPU"

need mkdir "$CONFIG/$GPU"
need store heap protected,secure-video
need store firmware_bytes_wanted 262144
need store origin acme,a9
need store commit bind
check 'a binding names its policy' is "$(dmesg | grep -c 'protheap: bound to protected,secure-video by policy acme,a9$')" 1
load_gpu abi=2
check 'another version of protheap.h is refused' is "$(dmesg | grep -c "protheap: failed to attach the driver: it uses version 2 of protheap.h, this module has 1; rebuild the driver")" 1
check 'and the right one is not' is "$(attr state) $(gpu bound)" 'in-use 1'
