# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine without a Mali CSF GPU, systemd does not start the binder, and starts the daemon only for a client
# init: systemd
# overlay: no-gpu
# limit: 300

check 'the board has no GPU' is "${GPUS:-none}" none
check 'systemd has not started the daemon' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'systemd has not started the binder' is "$(unit_says ConditionResult protheap-bind) $(unit_says ExecMainStartTimestampMonotonic protheap-bind)" 'no 0'
check 'protheapd logs nothing' empty log_of protheapd
check 'protheap-bind logs nothing' empty log_of protheap-bind
check 'Protheap makes no directory in /run' absent /run/protheap

check 'the daemon answers a client' is "$(property manager Model)" 's "Radxa ROCK 5B"'
check 'the client has started the daemon' unit_is active protheapd
check 'the daemon does not load protheap.ko' absent /sys/module/protheap
# The daemon waits a minute for further clients.
sleep 60
check 'the daemon exits without clients' wait_until 20 unit_is inactive protheapd
check 'the daemon exits with success' is "$(unit_says Result protheapd)" success
check 'the daemon logs only that it serves on the bus' is "$(log_of protheapd)" 'serving org.protheap1 on the system bus'
check 'protheapd leaves nothing in /run/protheap' empty ls -A /run/protheap
check 'no unit has failed' empty failed_units

# A policy can be for a GPU of any name, so the binder has to look for it.
prefer protected,secure-video | policy acme,a9
need systemctl start protheap-bind
check 'with a local policy, the unit of the module looks for a GPU' is "$(unit_says Result modprobe@protheap)" exec-condition
check 'with a local policy and no GPU, systemd does not start the binder' is "$(unit_says ConditionResult protheap-bind) $(unit_says ExecMainStartTimestampMonotonic protheap-bind)" 'no 0'
check 'with a local policy and no GPU, protheap.ko is not loaded' absent /sys/module/protheap
# As on a machine with ACPI.
need mount -t tmpfs none /sys/firmware
asked=$(unit_says InvocationID modprobe@protheap)
need systemctl start protheap-bind
check 'without a device tree, the unit of the module is not started' is "$(unit_says InvocationID modprobe@protheap) $(unit_says ConditionResult protheap-bind)" "$asked no"
check 'no unit has failed' empty failed_units
