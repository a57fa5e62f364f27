# SPDX-License-Identifier: MIT OR Apache-2.0
# about: calls that are too long, from 200 callers at once, neither fill the memory of the daemon nor delay other users
# init: systemd
# source: handed
# cmdline: simtee.delay_ms=200
# limit: 600

answers() { is "$(property gpu State)" 's "in-use"'; }
# As an unprivileged user, because the bus counts by user and the daemon runs as root.
hostile() { as_user 65534 protheap-guest bus "$@"; }
cgroup() { cat "/sys/fs/cgroup/system.slice/protheapd.service/$1"; }
peak_kb() { echo $(($(cgroup memory.peak) / 1024)); }

need wait_until 10 answers
daemon=$(main_process protheapd)
before=$(peak_kb)
say "the daemon has had at most $before kB"

check 'the daemon refuses FindHeap with 1,900,000 options' is "$(hostile options 1900000)" LimitsExceeded
check 'every method of the daemon refuses 100,000 bytes' is "$(hostile methods "$GPU" protected,secure-video 100000)" 'LimitsExceeded 11'
check 'the daemon reads and refuses FindHeap with 4,000 options' is "$(hostile options 4000)" InvalidArgument
check 'the refused calls add at most 4 MiB to the memory of the daemon' at_most "$(peak_kb)" $((before + 4096))

hostile crowd 200 /run/over >/run/crowd 2>&1 &
need wait_until 120 grep -q . /run/crowd
check '200 callers have sent a call each' is "$(head -n 1 /run/crowd)" 200
# By then the bus has forwarded all calls.
sleep 3
slowest=$(as_user 1000 protheap-guest bus slowest 20)
check 'the slowest of 20 calls of another user takes at most 1000 ms' at_most "$slowest" 1000
say "the slowest call took $slowest ms"
check 'the daemon answers a call of root' answers
touch /run/over
wait_until 20 has_lines /run/crowd 2
say "$(sed -n 2p /run/crowd) calls of the 200 were answered, the daemon has had at most $(peak_kb) kB"

check 'the daemon has not restarted' is "$(main_process protheapd)" "$daemon"
check 'the 200 calls add at most 16 MiB to the memory of the daemon' at_most "$(peak_kb)" $((before + 16384))
check 'the memory limit of the daemon is at least four times its peak' at_least "$(cgroup memory.max)" $((4 * $(cgroup memory.peak)))
check 'the daemon has never reached its memory limit' is "$(cgroup memory.events | grep -E '^(max|oom|oom_kill) ' | paste -s -d ' ')" 'max 0 oom 0 oom_kill 0'
check 'the unit limits the number of threads of the daemon' is "$(cgroup pids.max)" "$(unit_says TasksMax protheapd)"
check 'protheapd logs no warning' empty warnings_of protheapd
check 'the daemon logs the number of refused calls' like "$(log_of protheapd)" '*refused * D-Bus calls, the last from *: *'
check 'no unit has failed' empty failed_units
