# SPDX-License-Identifier: MIT OR Apache-2.0
# about: calls that are too long, of two hundred callers at once, cost the daemon little memory and others no second
# init: systemd
# source: handed
# cmdline: simtee.delay_ms=200
# limit: 600

answers() { is "$(property gpu State)" 's "in-use"'; }
# Of a user without rights, because the bus counts by user and the daemon is root's.
hostile() { as_user 65534 protheap-guest bus "$@"; }
cgroup() { cat "/sys/fs/cgroup/system.slice/protheapd.service/$1"; }
peak_kb() { echo $(($(cgroup memory.peak) / 1024)); }

need wait_until 10 answers
daemon=$(main_process protheapd)
before=$(peak_kb)
say "the daemon has had at most $before kB"

check 'a FindHeap with 1,900,000 options is refused' is "$(hostile options 1900000)" LimitsExceeded
check 'every method refuses 100,000 bytes' is "$(hostile methods "$GPU" protected,secure-video 100000)" 'LimitsExceeded 11'
check 'a FindHeap with 4,000 options is read and refused' is "$(hostile options 4000)" InvalidArgument
check 'none of that cost the daemon 4 MiB' at_most "$(peak_kb)" $((before + 4096))

hostile crowd 200 /run/over >/run/crowd 2>&1 &
need wait_until 120 grep -q . /run/crowd
check '200 callers have sent a call each' is "$(head -n 1 /run/crowd)" 200
# The bus has passed on what all of them sent at once.
sleep 3
slowest=$(as_user 1000 protheap-guest bus slowest 20)
check 'the slowest of 20 calls of another user takes at most 1000 ms' at_most "$slowest" 1000
say "it took $slowest ms"
check 'a call of root is answered' answers
touch /run/over
wait_until 20 has_lines /run/crowd 2
say "$(sed -n 2p /run/crowd) calls of the 200 were answered, the daemon has had at most $(peak_kb) kB"

check 'the daemon is the same' is "$(main_process protheapd)" "$daemon"
check 'and has had at most 16 MiB more' at_most "$(peak_kb)" $((before + 16384))
check 'its memory has a limit, four times as much as it ever had' at_least "$(cgroup memory.max)" $((4 * $(cgroup memory.peak)))
check 'which was never reached' is "$(cgroup memory.events | grep -E '^(max|oom|oom_kill) ' | paste -s -d ' ')" 'max 0 oom 0 oom_kill 0'
check 'so have its threads' is "$(cgroup pids.max)" "$(unit_says TasksMax protheapd)"
check 'protheapd logs no warning' empty warnings_of protheapd
check 'the log says that calls were refused' like "$(log_of protheapd)" '*refused * D-Bus calls, the last from *: *'
check 'no unit has failed' empty failed_units
