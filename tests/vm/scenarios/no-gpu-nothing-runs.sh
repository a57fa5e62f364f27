# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine without a GPU, Debian's packages make later boots execute no additional program and load no additional module
# init: systemd
# root: debian
# overlay: no-gpu
# cmdline: trace_event=sched:sched_process_exec,module:module_load trace_buf_size=16M
# limit: 600

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin

check 'the board has no GPU' is "${GPUS:-none}" none
record_boot

if [ "$LIFE" = 1 ]; then
	check 'the kernel trace covers the initrd' like "$(all_programs)" '*systemd-udevd*'
	check 'the initrd executes no program of Protheap' empty our_programs
fi
install_packages
check 'the packages cause no program to be executed more often' empty more_ran /run/programs.2 /run/programs.3
check 'the packages cause no module to be loaded' diff /run/modules.2 /run/modules.3
check 'protheap.ko is not loaded' absent /sys/module/protheap
check 'systemd does not execute the binder' is "$(unit_says ConditionResult protheap-bind) $(unit_says ExecMainStartTimestampMonotonic protheap-bind)" 'no 0'
check 'systemd does not start the daemon' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'Protheap makes no directory in /run' absent /run/protheap /run/modprobe.d
check 'no unit has failed' empty failed_units
