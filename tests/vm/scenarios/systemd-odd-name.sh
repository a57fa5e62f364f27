# SPDX-License-Identifier: MIT OR Apache-2.0
# about: for a GPU whose device has an unusual name, a local policy or a drop-in of the unit makes the binder run early
# init: systemd
# overlay: odd-name
# cmdline: modprobe.blacklist=panthor,tyr,csfgpu
# limit: 300

# ran: restarts the binder as at boot, and prints whether it has run
ran() {
	need systemctl stop protheapd protheap-bind
	[ ! -d "$CONFIG/$GPU" ] || need rmdir "$CONFIG/$GPU"
	rm -f /run/protheap/bound /run/protheap/gpu
	need systemctl start protheap-bind
	unit_says ConditionResult protheap-bind
}
DROP_IN=/run/systemd/system/modprobe@protheap.service.d

check 'the GPU has an unusual name' is "$GPU" fb000000.accelerator
check 'systemd has not started the binder at boot' is "$(unit_says ConditionResult protheap-bind)" no
check 'udev starts the daemon' wait_until 20 unit_is active protheapd
check 'the unit of the daemon has loaded protheap.ko' exists /sys/module/protheap
need modprobe simtee
check 'the daemon binds the heap' wait_until 20 holds "$CONFIG/$GPU/state" bound

# As before udev has processed the GPU.
need rm -r /run/udev/tags/protheap
check 'the binder does not run without a policy or a drop-in' is "$(ran)" no
prefer protected,secure-video | sed "s/arm,mali-valhall-csf/$GPU/" | policy acme,a9
check 'the binder runs with a local policy' is "$(ran)" yes
check 'the binder binds with a local policy' wait_until 20 holds "$CONFIG/$GPU/state" bound
need rm -r /etc/protheap/policies
check 'the binder does not run without the local policy' is "$(ran)" no
mkdir -p /etc/protheap/policies/acme,a9.toml.d
check 'the binder runs with a drop-in of a policy' is "$(ran)" yes
need rm -r /etc/protheap/policies
mkdir -p $DROP_IN
printf '[Unit]\nConditionPathExistsGlob=|/sys/bus/platform/devices/*.accelerator\n' >$DROP_IN/acme.conf
need systemctl daemon-reload
check 'the binder runs with a drop-in of the unit' is "$(ran)" yes
check 'the binder binds with a drop-in of the unit' wait_until 20 holds "$CONFIG/$GPU/state" bound
check 'no unit has failed' empty failed_units
