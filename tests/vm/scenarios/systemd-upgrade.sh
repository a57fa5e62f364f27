# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU stays in use while the package is replaced and removed, also by a version with another format of state.json
# init: systemd
# source: handed
# cmdline: simtee.delay_ms=200
# limit: 300

UNIT=/usr/lib/systemd/system/protheapd.service

file_it_runs() { stat -L -c %i "/proc/$(main_process protheapd)/exe"; }

need wait_until 10 ends in-use adopted
keep_groups 2 --protected
bound=$(step_us bound)
daemon=$(main_process protheapd)

# As package managers do: a running program keeps the old file.
need cp /usr/bin/protheapd /usr/bin/protheapd.new
need mv -f /usr/bin/protheapd.new /usr/bin/protheapd
need sed -i 's/^Description=.*/Description=Another/' $UNIT
need udevadm control --reload
need systemctl daemon-reload
check 'the old daemon runs until it is restarted' differs "$(file_it_runs)" "$(stat -c %i /usr/bin/protheapd)"
need systemctl try-restart protheapd
check 'the new daemon replaces the old one' started_anew protheapd "$daemon"
check 'the new daemon runs the new file' is "$(file_it_runs)" "$(stat -c %i /usr/bin/protheapd)"
check 'systemd has the new unit' is "$(unit_says Description protheapd)" Another
check 'the binding remains in use during the upgrade' is "$(attr state) $(attr suspend_in_use) $(buffers)" 'in-use 2 17'
check 'the new daemon keeps the timeline' is "$(step_us bound)" "$bound"

need systemctl stop protheapd
cat >/run/other.json <<END
{"schema": 0, "written_by": "protheap-bind of an older image", "gpu": {"device": "$GPU", "state": "waiting"}}
END
need mv /run/other.json $STATE
need systemctl start protheapd
check 'the daemon adopts the binding despite a state.json of an older version' ends in-use adopted
check 'the daemon replaces state.json of an older version' is "$(state_of /schema) $(state_of /gpus/0/device)" "1 $GPU"
check 'protheapd logs no warning' empty warnings_of protheapd

need systemctl stop protheapd protheap-bind
find /usr /etc -name '*protheap*' ! -name protheap-guest ! -name 'protheap*.ko' -prune -exec rm -rf {} +
need systemctl daemon-reload
need udevadm control --reload
need udevadm trigger --settle --action=change "$DEVICES/$GPU"
check 'the binding remains in use without the package' is "$(attr state) $(attr suspend_in_use) $(buffers)" 'in-use 2 17'
release_groups
keep_groups 2 --protected --job
check 'protected groups have suspend buffers without the package' is "$(attr suspend_in_use)" 2
release_groups
check 'a client gets an error without the package' like "$(property gpu State 2>&1)" 'Failed to *'
need unbind_gpu panthor
need bind_gpu panthor
check 'the GPU driver can be unbound and bound without the package' wait_until 10 holds "$CONFIG/$GPU/state" in-use
check 'no unit has failed' empty failed_units
