# SPDX-License-Identifier: MIT OR Apache-2.0
# about: clients that flood the daemon, never read, send large messages, or fill the heap affect neither GPUs nor other clients
# init: systemd
# source: handed
# cmdline: simtee.delay_ms=200
# limit: 300

answers() { is "$(property gpu State)" 's "in-use"'; }
memory_kb() { status_of protheapd VmHWM | sed 's/ kB//'; }
# As an unprivileged user, because the bus counts by user and the daemon runs as root.
hostile() { as_user 65534 protheap-guest bus "$@"; }

need wait_until 10 answers
daemon=$(main_process protheapd)
before=$(memory_kb)

check 'the daemon answers 10,000 calls at once' is "$(hostile find 10000 12 1)" 'answer 10000'
check 'the daemon refuses calls of 1 MiB' is "$(hostile find 100 1048576 1)" 'LimitsExceeded 100'
check 'the daemon refuses calls about 8,000 devices' is "$(hostile find 100 12 8000)" 'InvalidArgument 100'

# The bus keeps the answers: this small machine would not have memory for more of them.
hostile deaf 10000 /run/over >/run/deaf 2>&1 &
check 'the daemon answers others while a client does not read' wait_until 10 answers
need wait_until 120 grep -q . /run/deaf
need at_least "$(cat /run/deaf)" 1
check 'the daemon answers others when the bus has queued all calls of that client' wait_until 10 answers
touch /run/over
say "the bus took $(cat /run/deaf) calls, the memory of the daemon grew by $(($(memory_kb) - before)) kB"
check 'the daemon has not restarted' is "$(main_process protheapd)" "$daemon"
# Eight calls of 1 MiB were queued at once.
check 'the memory of the daemon grows by no more than the queued calls' at_most "$(memory_kb)" $((before + 16384))

need cp /usr/share/doc/protheap/examples/polkit/50-protheap-kiosk.rules /etc/polkit-1/rules.d
as_user 1000 protheap-guest bus fill protected,secure-video /run/filled >/run/full 2>&1 &
need wait_until 30 grep -q . /run/full
check 'a permitted client fills the heap' at_least "$(cat /run/full)" 1
check 'the heap has no free memory' fails_with ENOMEM protheap-guest alloc protected,secure-video 65536
keep_groups 2 --protected --job
check 'protected groups have suspend buffers although the heap is full' is "$(attr suspend_in_use) $(group_buffers)" '2 ordinary carve-out'
release_groups
need unbind_gpu panthor
need bind_gpu panthor
check 'the GPU driver can be bound again although the heap is full' wait_until 10 answers
touch /run/filled
check 'protheapd logs no warning' empty warnings_of protheapd
check 'no unit has failed' empty failed_units
