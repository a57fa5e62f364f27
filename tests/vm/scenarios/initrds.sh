# SPDX-License-Identifier: MIT OR Apache-2.0
# about: in initrds made by dracut and initramfs-tools, the binder binds the GPU before panthor probes, and the daemon of the root adopts the binding
# init: systemd
# initrd: dracut, dracut-script, initramfs-tools
# cmdline: simtee.delay_ms=200 systemd.volatile=state
# limit: 180

adopted() { ends in-use adopted; }

bound=$(kernel_us 'protheap: bound to')
check 'the GPU is held' at_least "$(kernel_us 'protheap: held')" 1
check 'the initrd binds the GPU when its heap appears' at_least "$bound" 1
check 'panthor probes after the binding was committed' at_least "$(kernel_us "panthor $GPU")" "$bound"
check 'the binding is committed before the root has started' at_least "$(systemctl show --property UserspaceTimestampMonotonic --value)" "$bound"
check 'the binder of the root exits' wait_until 10 unit_is inactive protheap-bind
check 'no buffer is allocated twice' is "$(attr state) $(buffers)" 'in-use 17'
check 'the daemon adopts the binding' wait_until 10 adopted
check 'no unit has failed' empty failed_units
