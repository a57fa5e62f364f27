# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine with a GPU other than a Mali CSF GPU, Debian's packages make later boots execute the binder once, and no other program
# init: systemd
# root: debian
# overlay: other-gpu
# cmdline: trace_event=sched:sched_process_exec,module:module_load trace_buf_size=16M
# limit: 600

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin

check 'the board has a Mali GPU without CSF' exists $DEVICES/fec00000.gpu
check 'the board has no Mali CSF GPU' is "${GPUS:-none}" none
record_boot

if [ "$LIFE" = 1 ]; then
	check 'the kernel trace covers the initrd' like "$(all_programs)" '*systemd-udevd*'
	check 'the initrd executes protheap-bind once and no other program of Protheap' is "$(our_programs | sed 's/^ *//')" '1 /usr/bin/protheap-bind'
fi
install_packages
check 'the packages cause only the binder to be executed, once' is "$(more_ran /run/programs.2 /run/programs.3)" "$(printf '+1 /usr/bin/protheap-bind\n+1 systemd-executor')"
check 'the packages cause no module to be loaded' diff /run/modules.2 /run/modules.3
check 'protheap.ko is not loaded' absent /sys/module/protheap
check 'the binder finds no GPU before the module would be loaded' is "$(unit_says Result modprobe@protheap) $(unit_says ExecMainStartTimestampMonotonic modprobe@protheap)" 'exec-condition 0'
check 'systemd does not set up the sandbox of the binder' is "$(unit_says ConditionResult protheap-bind) $(unit_says ExecMainStartTimestampMonotonic protheap-bind)" 'no 0'
check 'systemd does not start the daemon' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'Protheap makes no directory in /run' absent /run/protheap /run/modprobe.d
check 'no unit has failed' empty failed_units
