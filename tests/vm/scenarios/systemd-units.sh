# SPDX-License-Identifier: MIT OR Apache-2.0
# about: systemd applies the sandboxes of the units, udev the permissions of heaps, and the watchdog covers both threads of the daemon
# init: systemd
# cmdline: simtee.delay_ms=200
# limit: 240

DROP_IN=/run/systemd/system/protheapd.service.d

for unit in protheapd protheap-bind; do
	check "$unit: the unit file is the installed one" is "$(unit_says FragmentPath $unit) $(unit_says DropInPaths $unit)" "/usr/lib/systemd/system/$unit.service "
	check "$unit: systemd-analyze verify finds nothing" empty systemd-analyze verify --man=no $unit.service
	for property in NoNewPrivileges ProtectHome MemoryDenyWriteExecute RestrictRealtime ProtectKernelTunables; do
		check "$unit: $property is on" is "$(unit_says $property $unit)" yes
	done
	check "$unit: the only capability of the unit is CAP_SYS_ADMIN" is "$(unit_says CapabilityBoundingSet $unit)" cap_sys_admin
	check "$unit: the unit can write only to configfs" is "$(unit_says ProtectSystem $unit) $(unit_says ReadWritePaths $unit)" 'strict -/sys/kernel/config/protheap'
	# ProtectClock= adds the real-time clock.
	check "$unit: the unit can open only the module, heaps and DRM nodes" is "$(unit_says DevicePolicy $unit) $(unit_says DeviceAllow $unit | sort | tr '\n' ' ')" 'closed /dev/protheap rw char-226 rw char-dma_heap rw char-rtc r '
done
check 'systemd-analyze rates the exposure of the daemon at 2.0 at most' systemd-analyze security --no-pager --threshold=20 protheapd.service
check 'systemd-analyze rates the exposure of the binder at 3.0 at most' systemd-analyze security --no-pager --threshold=30 protheap-bind.service

need wait_until 10 ends in-use adopted

# As distributions do that open all heaps to the group `video`.
mkdir -p /run/udev/rules.d
rule() { echo "SUBSYSTEM==\"dma_heap\", GROUP=\"44\", MODE=\"0660\"$1" >/run/udev/rules.d/99-com.rules; }
coldplug_heaps() { udevadm control --reload && udevadm trigger --settle --action=change --subsystem-match=dma_heap; }
access_of() { stat -c '%u %g %a' "$(heap "$1")"; }
obstacles_contain() { protheapctl status --json >/run/status.json && grep -q "\"what\": *\"$1\"" /run/status.json; }
rule ''
need coldplug_heaps
check 'a rule that opens all heaps applies to the system heap' is "$(access_of system)" '0 44 660'
check 'the node of a protected heap belongs to root nevertheless' is "$(access_of protected,secure-video)" '0 0 600'
check 'status does not report the heap as open' fails obstacles_contain open-heap
rule ', ENV{PROTHEAP_KEEP_MODE}="1"'
need coldplug_heaps
check 'PROTHEAP_KEEP_MODE keeps the permissions of a protected heap' is "$(access_of protected,secure-video)" '0 44 660'
check 'status takes the property for the will of the administrator' fails obstacles_contain open-heap
rule ''
need chmod 0666 "$(heap protected,secure-video)"
check 'status reports a protected heap that others can open' obstacles_contain open-heap
rm /run/udev/rules.d/99-com.rules
need coldplug_heaps

mkdir -p $DROP_IN
cat >$DROP_IN/watchdog.conf <<END
[Service]
WatchdogSec=2s
END
need systemctl daemon-reload
need systemctl restart protheapd
daemon=$(main_process protheapd)
sleep 10
check 'the daemon notifies the watchdog in time' is "$(main_process protheapd) $(unit_says NRestarts protheapd)" "$daemon 0"
need kill -STOP "$daemon"
check 'systemd restarts a stopped daemon' wait_until 20 started_anew protheapd "$daemon"
check 'the restarted daemon adopts the binding' wait_until 5 ends in-use adopted

# The thread that owns the bindings waits for the holder of the lock when it has work.
daemon=$(main_process protheapd)
protheap-guest lock /run/protheap/lock /run/locked /run/unlock &
need wait_until 5 exists /run/locked
need unbind_gpu panthor
need rmdir "$CONFIG/$GPU"
need bind_gpu panthor
check 'systemd restarts a daemon of which only that thread is blocked' wait_until 20 started_anew protheapd "$daemon"
touch /run/unlock
check 'the restarted daemon binds when the lock is free' wait_until 20 holds "$CONFIG/$GPU/state" in-use
