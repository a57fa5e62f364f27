# SPDX-License-Identifier: MIT OR Apache-2.0
# about: initrds without systemd: their binder is ended with them, and the root's goes on until the heap comes
# init: systemd
# initrd: dracut-script, initramfs-tools
# cmdline: simtee.delay_ms=3500 systemd.volatile=state
# limit: 180

check 'the GPU is bound' wait_until 10 holds "$CONFIG/$GPU/state" in-use
bound=$(kernel_us 'protheap: bound to')
check 'after the root has begun' at_least "$bound" "$(systemctl show --property UserspaceTimestampMonotonic --value)"
check 'before panthor probes' at_least "$(kernel_us "panthor $GPU")" "$bound"
check 'the hold is not over' is "$(kernel_us 'protheap: timed out waiting for user space')" ''
check 'there is no binder any more' wait_until 10 is_count '' pidof protheap-bind
check 'with no more buffers than the GPU needs' is "$(buffers)" 17
check 'the daemon takes over' wait_until 10 ends in-use adopted
check 'no unit has failed' is "$(has_failed)" ''
