# SPDX-License-Identifier: MIT OR Apache-2.0
# about: initrds without systemd end their binder, and the binder of the root waits for the heap
# init: systemd
# initrd: dracut-script, initramfs-tools
# cmdline: simtee.delay_ms=3500 systemd.volatile=state
# limit: 180

# none_runs: no protheap-bind is running; pidof fails with 1 then
none_runs() {
	pidof protheap-bind
	is $? 1
}

check 'the GPU uses its binding' wait_until 10 holds "$CONFIG/$GPU/state" in-use
bound=$(kernel_us 'protheap: bound to')
check 'the kernel commits the binding after the root has started' at_least "$bound" "$(systemctl show --property UserspaceTimestampMonotonic --value)"
check 'panthor probes after the binding was committed' at_least "$(kernel_us "panthor $GPU")" "$bound"
check 'the hold does not time out' hold_ended_in_time
check 'no protheap-bind is running' wait_until 10 none_runs
check 'the kernel has only the buffers that the GPU needs' is "$(buffers)" 17
check 'the daemon adopts the binding' wait_until 10 ends in-use adopted
check 'no unit has failed' empty failed_units
