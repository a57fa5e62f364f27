# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU stays bound and in use under a root that contains no file of Protheap
# init: systemd
# cmdline: simtee.delay_ms=200 xtask.bare-root
# limit: 240

check 'the root has no file of Protheap' empty find /usr /etc -name '*protheap*' ! -name protheap-guest
need systemctl list-unit-files --no-legend
echo "$seen" >/run/unit-files
check 'the root has no unit of Protheap' empty matching /run/unit-files '^protheap'
check 'the GPU uses the binding of the initrd' wait_until 10 holds "$CONFIG/$GPU/state" in-use
check 'state.json of the initrd still exists' is "$(state_of /gpus/0/heap)" protected,secure-video
keep_groups 2 --protected --job
check 'protected groups have suspend buffers' is "$(attr suspend_in_use)" 2
release_groups
need unbind_gpu panthor
check 'the binding remains when the driver is unbound' is "$(attr state)" bound
need bind_gpu panthor
check 'the GPU uses its binding when the driver is bound again' wait_until 10 holds "$CONFIG/$GPU/state" in-use
check 'no unit has failed' empty failed_units
