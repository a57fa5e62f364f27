# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a machine without a GPU that Protheap is for: the binder is done at once, and there is no daemon but for who asks
# init: systemd
# overlay: no-gpu
# limit: 300

check 'there is no GPU' is "$GPUS" ''
check 'no daemon was started' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'the binder has ended well' is "$(unit_says ConditionResult protheap-bind) $(unit_says Result protheap-bind) $(systemctl is-active protheap-bind)" 'yes success inactive'
check 'nobody has said anything' is "$(log_of protheapd)$(log_of protheap-bind)" ''
check 'nothing is left' is "$(ls -A /run/protheap)" ''

check 'who asks is answered' is "$(property manager Model)" 's "Radxa ROCK 5B"'
check 'by a daemon that was started for it' unit_is active protheapd
# A minute later.
sleep 60
check 'which goes when nobody asks any more' wait_until 20 unit_is inactive protheapd
check 'and well' is "$(unit_says Result protheapd)" success
check 'it has said only that it served' is "$(log_of protheapd)" 'serving org.protheap1 on the system bus'
check 'nothing is left of it' is "$(ls -A /run/protheap)" ''
check 'no unit has failed' is "$(has_failed)" ''

# As on a machine with ACPI.
need mount -t tmpfs none /sys/firmware
need systemctl start protheap-bind
check 'where there is no device tree it is not even started' is "$(unit_says ConditionResult protheap-bind)" no
