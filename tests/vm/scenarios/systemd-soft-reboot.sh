# SPDX-License-Identifier: MIT OR Apache-2.0
# about: systemd begins anew in the same kernel: who used the GPU has gone, and its binding stays, with its story
# init: systemd
# source: handed
# cmdline: simtee.delay_ms=200
# limit: 300

story() { echo "$(state_of /gpus/0/held_us) $(step_us bound) $(step_us held)"; }

if [ "$LIFE" = 1 ]; then
	check 'the GPU is in use' wait_until 10 ends in-use adopted
	keep_groups 2 --protected
	story >/run/story
	attr suspend_bytes >/run/suspend_bytes
	soft_reboot
fi
check 'systemd has begun anew' is "$(systemctl show --property SoftRebootsCount --value)" 1
check 'the binding has stayed' is "$(attr state) $(attr suspend_in_use)" 'in-use 0'
check 'with what it had' is "$(attr suspend_bytes) $(buffers)" "$(cat /run/suspend_bytes) 17"
check 'the binder has left it at that' is "$(unit_says Result protheap-bind)" success
check 'the daemon was started' wait_until 10 unit_is active protheapd
check 'and has taken over' wait_until 5 ends in-use adopted
check 'the story goes on' is "$(story)" "$(cat /run/story)"
check 'it is on the bus' wait_until 10 busctl status org.protheap1
keep_groups 2 --protected --job
check 'groups can start' is "$(attr suspend_in_use)" 2
release_groups
check 'protheapd logs no warning' empty warnings_of protheapd
check 'protheap-bind logs nothing' empty log_of protheap-bind
check 'no unit has failed' empty failed_units
