# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap comes after systemd has switched to the next root: the initrd's binder has gone on, and binds it
# init: systemd
# cmdline: simtee.delay_ms=5000
# smp: 2
# limit: 90
#
# Not yet where buffers are handed over: with its root, the initrd's /dev and /proc go, by which the binder allocates.

bound=$(kernel_us 'protheap: bound to')
check 'the switch of root does not wait for the heap' at_least "$bound" "$(unit_us initrd-switch-root.service starting initrd)"
check 'nor end the hold' is "$(kernel_us 'protheap: nothing was decided in time')" ''
check 'the GPU is bound' wait_until 5 holds "$CONFIG/$GPU/state" in-use
check 'before panthor probes' at_least "$(kernel_us 'panthor fb000000.gpu')" "$bound"
check 'by the binder of the initrd: the next root has started none' is "$(unit_us protheap-bind.service starting system)" ''
check 'which has ended since, and well' is "$(systemctl show --property Result --value protheap-bind) $(systemctl is-active protheap-bind)" 'success inactive'
check 'the daemon takes over' wait_until 5 ends in-use adopted
check 'no unit has failed' is "$(systemctl --failed --no-legend --plain)" ''
