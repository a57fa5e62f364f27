# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU whose device is not named like one: a policy of the machine or a drop-in of the unit has the binder run early
# init: systemd
# overlay: odd-name
# cmdline: modprobe.blacklist=panthor,tyr,csfgpu
# limit: 300

# ran: whether the binder runs when it is started now, as at boot
ran() {
	need systemctl stop protheapd protheap-bind
	[ ! -d "$CONFIG/$GPU" ] || need rmdir "$CONFIG/$GPU"
	rm -f /run/protheap/bound /run/protheap/gpu
	need systemctl start protheap-bind
	unit_says ConditionResult protheap-bind
}
DROP_IN=/run/systemd/system/modprobe@protheap.service.d

check 'the GPU has an odd name' is "$GPU" fb000000.accelerator
check 'the binder was not started at boot' is "$(unit_says ConditionResult protheap-bind)" no
check 'udev has started the daemon' wait_until 20 unit_is active protheapd
check 'for which the module was loaded' exists /sys/module/protheap
need modprobe simtee
check 'it binds' wait_until 20 holds "$CONFIG/$GPU/state" bound

# Before udev has seen the GPU.
need rm -r /run/udev/tags/protheap
check 'without more, the binder does not run' is "$(ran)" no
prefer protected,secure-video | sed "s/arm,mali-valhall-csf/$GPU/" | policy acme,a9
check 'with a policy it does' is "$(ran)" yes
check 'and binds' wait_until 20 holds "$CONFIG/$GPU/state" bound
need rm -r /etc/protheap/policies
check 'without that it does not' is "$(ran)" no
mkdir -p /etc/protheap/policies/acme,a9.toml.d
check 'with a drop-in of a policy it does' is "$(ran)" yes
need rm -r /etc/protheap/policies
mkdir -p $DROP_IN
printf '[Unit]\nConditionPathExistsGlob=|/sys/bus/platform/devices/*.accelerator\n' >$DROP_IN/acme.conf
need systemctl daemon-reload
check 'with a drop-in of the unit it does' is "$(ran)" yes
check 'and binds' wait_until 20 holds "$CONFIG/$GPU/state" bound
check 'no unit has failed' empty failed_units
