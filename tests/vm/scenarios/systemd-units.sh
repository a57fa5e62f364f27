# SPDX-License-Identifier: MIT OR Apache-2.0
# about: what systemd makes of the units: the sandboxes are on, and the watchdog means both threads of the daemon
# init: systemd
# cmdline: simtee.delay_ms=200
# limit: 240

DROP_IN=/run/systemd/system/protheapd.service.d

for unit in protheapd protheap-bind; do
	check "$unit is as it was installed" is "$(unit_says FragmentPath $unit) $(unit_says DropInPaths $unit)" "/usr/lib/systemd/system/$unit.service "
	check "$unit: systemd-analyze verify finds nothing" empty systemd-analyze verify --man=no $unit.service
	for property in NoNewPrivileges PrivateUsers ProtectHome MemoryDenyWriteExecute RestrictRealtime ProtectKernelTunables; do
		check "its $property is on" is "$(unit_says $property $unit)" yes
	done
	check "$unit has no capability" is "$(systemctl show --property CapabilityBoundingSet $unit)" CapabilityBoundingSet=
	check 'it writes nowhere else' is "$(unit_says ProtectSystem $unit) $(unit_says ReadWritePaths $unit)" 'strict -/sys/kernel/config/protheap'
	# The clock is ProtectClock='s.
	check 'it has no other device' is "$(unit_says DevicePolicy $unit) $(unit_says DeviceAllow $unit | sort | tr '\n' ' ')" 'closed /dev/protheap rw char-dma_heap rw char-rtc r '
done
check 'the daemon leaves little open' systemd-analyze security --no-pager --threshold=17 protheapd.service
check 'and so does the binder' systemd-analyze security --no-pager --threshold=30 protheap-bind.service

need wait_until 10 ends in-use adopted
mkdir -p $DROP_IN
cat >$DROP_IN/watchdog.conf <<END
[Service]
WatchdogSec=2s
END
need systemctl daemon-reload
need systemctl restart protheapd
daemon=$(main_process protheapd)
sleep 10
check 'the daemon feeds its watchdog' is "$(main_process protheapd) $(unit_says NRestarts protheapd)" "$daemon 0"
need kill -STOP "$daemon"
check 'stopped, it is killed and started anew' wait_until 20 started_anew protheapd "$daemon"
check 'and adopts the binding' wait_until 5 ends in-use adopted

# The thread that owns the bindings waits for who has the lock, when there is something to do.
daemon=$(main_process protheapd)
protheap-guest lock /run/protheap/lock /run/locked /run/unlock &
need wait_until 5 exists /run/locked
need unbind_gpu panthor
need rmdir "$CONFIG/$GPU"
need bind_gpu panthor
check 'it is so also when only the other thread does not get on' wait_until 20 started_anew protheapd "$daemon"
touch /run/unlock
check 'and binds when it can' wait_until 20 holds "$CONFIG/$GPU/state" in-use
