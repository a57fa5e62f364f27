# SPDX-License-Identifier: MIT OR Apache-2.0
# about: after a soft reboot of systemd, the binding and its timeline remain, although the programs that used the GPU are gone
# init: systemd
# source: handed
# cmdline: simtee.delay_ms=200
# limit: 300

story() { echo "$(state_of /gpus/0/held_us) $(step_us bound) $(step_us held)"; }

if [ "$LIFE" = 1 ]; then
	check 'the GPU uses its binding before the soft reboot' wait_until 10 ends in-use adopted
	keep_groups 2 --protected
	story >/run/story
	attr suspend_bytes >/run/suspend_bytes
	soft_reboot
fi
check 'systemd has performed a soft reboot' is "$(systemctl show --property SoftRebootsCount --value)" 1
check 'the binding remains, without groups' is "$(attr state) $(attr suspend_in_use)" 'in-use 0'
check 'the binding keeps its buffers' is "$(attr suspend_bytes) $(buffers)" "$(cat /run/suspend_bytes) 17"
check 'the binder exits with success after the soft reboot' is "$(unit_says Result protheap-bind)" success
check 'systemd starts the daemon after the soft reboot' wait_until 10 unit_is active protheapd
check 'the daemon adopts the binding after the soft reboot' wait_until 5 ends in-use adopted
check 'the daemon keeps the timeline' is "$(story)" "$(cat /run/story)"
check 'the daemon is on the bus' wait_until 10 busctl status org.protheap1
keep_groups 2 --protected --job
check 'protected groups have suspend buffers' is "$(attr suspend_in_use)" 2
release_groups
check 'protheapd logs no warning' empty warnings_of protheapd
check 'protheap-bind logs nothing' empty log_of protheap-bind
check 'no unit has failed' empty failed_units
