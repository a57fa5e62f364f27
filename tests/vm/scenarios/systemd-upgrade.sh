# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the package is replaced and removed while the GPU is in use, also by one that tells in another format
# init: systemd
# source: handed
# cmdline: simtee.delay_ms=200
# limit: 300

UNIT=/usr/lib/systemd/system/protheapd.service

file_it_runs() { stat -L -c %i "/proc/$(main_process protheapd)/exe"; }

need wait_until 10 ends in-use adopted
keep_groups 2 --protected
told=$(step_us bound)
daemon=$(main_process protheapd)

# As package managers do: what runs keeps the old file.
need cp /usr/bin/protheapd /usr/bin/protheapd.new
need mv -f /usr/bin/protheapd.new /usr/bin/protheapd
need sed -i 's/^Description=.*/Description=Another/' $UNIT
need udevadm control --reload
need systemctl daemon-reload
check 'the old one goes on until it is told' differs "$(file_it_runs)" "$(stat -c %i /usr/bin/protheapd)"
need systemctl try-restart protheapd
check 'then the new one takes over' started_anew protheapd "$daemon"
check 'which is the new file' is "$(file_it_runs)" "$(stat -c %i /usr/bin/protheapd)"
check 'and the new unit' is "$(unit_says Description protheapd)" Another
check 'the binding is in use all the time' is "$(attr state) $(attr suspend_in_use) $(buffers)" 'in-use 2 17'
check 'the story goes on' is "$(step_us bound)" "$told"

need systemctl stop protheapd
cat >/run/other.json <<END
{"schema": 0, "written_by": "protheap-bind of an older image", "gpu": {"device": "$GPU", "state": "waiting"}}
END
need mv /run/other.json $STATE
need systemctl start protheapd
check 'what an older binder wrote is no matter' ends in-use adopted
check 'state.json is the new one' is "$(state_of /schema) $(state_of /gpus/0/device)" "1 $GPU"
check 'protheapd logs no warning' empty warnings_of protheapd

need systemctl stop protheapd protheap-bind
find /usr /etc -name '*protheap*' ! -name protheap-guest ! -name 'protheap*.ko' -prune -exec rm -rf {} +
need systemctl daemon-reload
need udevadm control --reload
need udevadm trigger --settle --action=change "$DEVICES/$GPU"
check 'without the package the binding stays' is "$(attr state) $(attr suspend_in_use) $(buffers)" 'in-use 2 17'
release_groups
keep_groups 2 --protected --job
check 'groups can start' is "$(attr suspend_in_use)" 2
release_groups
check 'who asks is told that nobody is there' like "$(property gpu State 2>&1)" 'Failed to *'
need unbind_gpu panthor
need bind_gpu panthor
check 'the GPU can go and come back' wait_until 10 holds "$CONFIG/$GPU/state" in-use
check 'no unit has failed' empty failed_units
