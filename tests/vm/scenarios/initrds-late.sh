# SPDX-License-Identifier: MIT OR Apache-2.0
# about: initrds without systemd: their binder is ended with them, and the root's goes on until the heap comes
# init: systemd
# initrd: dracut-script, initramfs-tools
# cmdline: simtee.delay_ms=3500 systemd.volatile=state
# limit: 180

# pidof fails with 1 if it finds none.
none_runs() {
	pidof protheap-bind
	is $? 1
}

check 'the GPU is bound' wait_until 10 holds "$CONFIG/$GPU/state" in-use
bound=$(kernel_us 'protheap: bound to')
check 'after the root has begun' at_least "$bound" "$(systemctl show --property UserspaceTimestampMonotonic --value)"
check 'before panthor probes' at_least "$(kernel_us "panthor $GPU")" "$bound"
check 'the hold does not time out' hold_ended_in_time
check 'no protheap-bind is left' wait_until 10 none_runs
check 'with no more buffers than the GPU needs' is "$(buffers)" 17
check 'the daemon takes over' wait_until 10 ends in-use adopted
check 'no unit has failed' empty failed_units
