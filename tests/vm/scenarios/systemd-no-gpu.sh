# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine without a Mali CSF GPU the binder is not started, and the daemon only for a client
# init: systemd
# overlay: no-gpu
# limit: 300

check 'the board has no GPU' is "${GPUS:-none}" none
check 'no daemon was started' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'the binder was not started' is "$(unit_says ConditionResult protheap-bind) $(unit_says ExecMainStartTimestampMonotonic protheap-bind)" 'no 0'
check 'protheapd logs nothing' empty log_of protheapd
check 'protheap-bind logs nothing' empty log_of protheap-bind
check 'there is no directory of ours' absent /run/protheap

check 'who asks is answered' is "$(property manager Model)" 's "Radxa ROCK 5B"'
check 'by a daemon that was started for it' unit_is active protheapd
check 'without the module' absent /sys/module/protheap
# A minute later.
sleep 60
check 'which goes when nobody asks any more' wait_until 20 unit_is inactive protheapd
check 'and well' is "$(unit_says Result protheapd)" success
check 'it has said only that it served' is "$(log_of protheapd)" 'serving org.protheap1 on the system bus'
check 'protheapd leaves nothing in /run/protheap' empty ls -A /run/protheap
check 'no unit has failed' empty failed_units

# A policy may be for a GPU of any name, so the binder has to look.
prefer protected,secure-video | policy acme,a9
need systemctl start protheap-bind
check 'with a policy, the binder is asked for a GPU' is "$(unit_says Result modprobe@protheap)" exec-condition
check 'and does not run' is "$(unit_says ConditionResult protheap-bind) $(unit_says ExecMainStartTimestampMonotonic protheap-bind)" 'no 0'
check 'the module is not loaded' absent /sys/module/protheap
# As on a machine with ACPI.
need mount -t tmpfs none /sys/firmware
asked=$(unit_says InvocationID modprobe@protheap)
need systemctl start protheap-bind
check 'where there is no device tree it is not even asked' is "$(unit_says InvocationID modprobe@protheap) $(unit_says ConditionResult protheap-bind)" "$asked no"
check 'no unit has failed' empty failed_units
