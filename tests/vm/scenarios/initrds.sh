# SPDX-License-Identifier: MIT OR Apache-2.0
# about: initrds that dracut and initramfs-tools made: the GPU is bound before its driver probes, and the root's daemon takes over
# init: systemd
# initrd: dracut, dracut-script, initramfs-tools
# cmdline: simtee.delay_ms=200 systemd.volatile=state
# limit: 180

adopted() { ends in-use adopted; }

bound=$(kernel_us 'protheap: bound to')
check 'the GPU is held' at_least "$(kernel_us 'protheap: held')" 1
check 'bound when its heap comes' at_least "$bound" 1
check 'and panthor probes after that' at_least "$(kernel_us "panthor $GPU")" "$bound"
check 'all of that before the root has begun' at_least "$(systemctl show --property UserspaceTimestampMonotonic --value)" "$bound"
check 'the binder of the root leaves it at that' wait_until 10 unit_is inactive protheap-bind
check 'nothing was allocated twice' is "$(attr state) $(buffers)" 'in-use 17'
check 'the daemon takes over' wait_until 10 adopted
check 'no unit has failed' empty failed_units
