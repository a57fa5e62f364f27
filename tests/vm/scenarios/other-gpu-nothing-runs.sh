# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine with another GPU than a Mali CSF GPU, installing Debian's packages makes later boots execute the binder once, and nothing else
# init: systemd
# root: debian
# overlay: other-gpu
# cmdline: trace_event=sched:sched_process_exec,module:module_load trace_buf_size=16M
# limit: 600

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin

check 'the other GPU is named as a Mali' exists $DEVICES/fec00000.gpu
check 'the board has no Mali CSF GPU' is "${GPUS:-none}" none
record_boot

if [ "$LIFE" = 1 ]; then
	check 'the kernel has recorded the initrd' like "$(all_programs)" '*systemd-udevd*'
	check 'the initrd executes protheap-bind once and no other program of Protheap' is "$(our_programs | sed 's/^ *//')" '1 /usr/bin/protheap-bind'
fi
install_packages
check 'the binder was executed once, and nothing else' is "$(more_ran /run/programs.2 /run/programs.3)" "$(printf '+1 /usr/bin/protheap-bind\n+1 systemd-executor')"
check 'no module was loaded' diff /run/modules.2 /run/modules.3
check 'the module is not there' absent /sys/module/protheap
check 'it has found no GPU' is "$(unit_says Result modprobe@protheap) $(unit_says ExecMainStartTimestampMonotonic modprobe@protheap)" 'exec-condition 0'
check 'so its sandbox was not set up' is "$(unit_says ConditionResult protheap-bind) $(unit_says ExecMainStartTimestampMonotonic protheap-bind)" 'no 0'
check 'the daemon was not started' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'Protheap makes no directory in /run' absent /run/protheap /run/modprobe.d
check 'no unit has failed' empty failed_units
