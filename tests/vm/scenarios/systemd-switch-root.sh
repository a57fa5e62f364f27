# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap comes after systemd has switched to the next root, whose binder goes on where the initrd's had to stop
# init: systemd
# source: kernel, handed
# cmdline: simtee.delay_ms=2500
# limit: 240

is_in_use() { holds "$CONFIG/$GPU/state" in-use; }

check 'the GPU is bound' wait_until 10 is_in_use
held=$(kernel_us 'protheap: held')
bound=$(kernel_us 'protheap: bound to')
stopped=$(unit_us protheap-bind.service stopped initrd)
switched=$(unit_us initrd-switch-root.service starting initrd)
check 'before panthor probes' at_least "$(kernel_us "panthor $GPU")" "$bound"
check 'the hold does not time out' hold_ended_in_time
check "the initrd's binder is at work until the switch of root" at_least "$stopped" "$held"
check 'which waits for its end' at_least "$switched" "$stopped"
check 'but not for the heap' at_least "$bound" "$switched"
check 'the next root has a binder of its own' at_least "$(unit_says ExecMainStartTimestampMonotonic protheap-bind)" "$switched"
check 'which ends well' wait_until 5 unit_is inactive protheap-bind
check 'with no more buffers than the GPU needs' is "$(buffers)" 17
check 'the daemon takes over' wait_until 5 ends in-use adopted
check 'no unit has failed' empty failed_units
