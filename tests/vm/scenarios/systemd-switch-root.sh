# SPDX-License-Identifier: MIT OR Apache-2.0
# about: when the heap appears after the switch of root, the binder of the next root continues the hold of the binder of the initrd
# init: systemd
# source: kernel, handed
# cmdline: simtee.delay_ms=2500
# limit: 240

is_in_use() { holds "$CONFIG/$GPU/state" in-use; }

check 'the GPU uses its binding' wait_until 10 is_in_use
held=$(kernel_us 'protheap: held')
bound=$(kernel_us 'protheap: bound to')
stopped=$(unit_us protheap-bind.service stopped initrd)
switched=$(unit_us initrd-switch-root.service starting initrd)
check 'panthor probes after the binding was committed' at_least "$(kernel_us "panthor $GPU")" "$bound"
check 'the hold does not time out' hold_ended_in_time
check 'the binder of the initrd runs until the switch of root' at_least "$stopped" "$held"
check 'the binder of the initrd exits before the switch of root' at_least "$switched" "$stopped"
check 'the switch of root does not wait for the heap' at_least "$bound" "$switched"
check 'the next root starts its binder' at_least "$(unit_says ExecMainStartTimestampMonotonic protheap-bind)" "$switched"
check 'the binder of the next root exits' wait_until 5 unit_is inactive protheap-bind
check 'the kernel has only the buffers that the GPU needs' is "$(buffers)" 17
check 'the daemon adopts the binding' wait_until 5 ends in-use adopted
check 'no unit has failed' empty failed_units
