# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the root after the initrd has nothing of Protheap: the GPU stays bound and in use, and nothing fails
# init: systemd
# cmdline: simtee.delay_ms=200 xtask.bare-root
# limit: 240

check 'this root has no file of Protheap' empty find /usr /etc -name '*protheap*' ! -name protheap-guest
need systemctl list-unit-files --no-legend
echo "$seen" >/run/unit-files
check 'this root has no unit of Protheap' empty matching /run/unit-files '^protheap'
check 'the initrd has bound the GPU' wait_until 10 holds "$CONFIG/$GPU/state" in-use
check 'what it told is still there' is "$(state_of /gpus/0/heap)" protected,secure-video
keep_groups 2 --protected --job
check 'groups have their suspend buffers' is "$(attr suspend_in_use)" 2
release_groups
need unbind_gpu panthor
check 'the GPU can go' is "$(attr state)" bound
need bind_gpu panthor
check 'and come back' wait_until 10 holds "$CONFIG/$GPU/state" in-use
check 'no unit has failed' empty failed_units
