# SPDX-License-Identifier: MIT OR Apache-2.0
# about: clients that flood, never read, send a lot, or take all of the heap: GPUs go on, and the daemon serves others
# init: systemd
# source: handed
# cmdline: simtee.delay_ms=200
# limit: 300

answers() { is "$(property gpu State)" 's "in-use"'; }
memory_kb() { status_of protheapd VmHWM | sed 's/ kB//'; }
# Of a user without rights, because the bus counts by user and the daemon is root's.
hostile() { as_user 65534 protheap-guest bus "$@"; }

need wait_until 10 answers
daemon=$(main_process protheapd)
before=$(memory_kb)

check 'ten thousand questions at once are answered' is "$(hostile find 10000 12 1)" 'answer 10000'
check 'those of a MiB are refused' is "$(hostile find 100 1048576 1)" 'LimitsExceeded 100'
check 'and those about thousands of devices' is "$(hostile find 100 12 8000)" 'InvalidArgument 100'

# The bus keeps the answers: of more, this small machine would run out of memory.
hostile deaf 10000 /run/over >/run/deaf 2>&1 &
check 'while one asks and never reads, another is answered' wait_until 10 answers
need wait_until 120 grep -q . /run/deaf
need at_least "$(cat /run/deaf)" 1
check 'also when the bus has taken all of its questions' wait_until 10 answers
touch /run/over
say "the bus took $(cat /run/deaf) questions, the daemon grew by $(($(memory_kb) - before)) kB"
check 'the daemon is the same' is "$(main_process protheapd)" "$daemon"
# Eight questions of a MiB were on the way at once.
check 'and has grown by no more than what was on the way' at_most "$(memory_kb)" $((before + 16384))

need cp /usr/share/doc/protheap/examples/polkit/50-protheap-kiosk.rules /etc/polkit-1/rules.d
as_user 1000 protheap-guest bus fill protected,secure-video /run/filled >/run/full 2>&1 &
need wait_until 30 grep -q . /run/full
check 'a client that may has taken all of the heap' at_least "$(cat /run/full)" 1
check 'none is left' fails_with ENOMEM protheap-guest alloc protected,secure-video 65536
keep_groups 2 --protected --job
check 'protected groups start all the same' is "$(attr suspend_in_use) $(group_buffers)" '2 ordinary carve-out'
release_groups
need unbind_gpu panthor
need bind_gpu panthor
check 'the GPU can come back' wait_until 10 answers
touch /run/filled
check 'protheapd logs no warning' empty warnings_of protheapd
check 'no unit has failed' empty failed_units
