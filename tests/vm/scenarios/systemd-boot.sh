# SPDX-License-Identifier: MIT OR Apache-2.0
# about: under systemd, the binder of the initrd holds the GPU before udev loads panthor, and the daemon of the next root adopts the binding
# init: systemd
# source: kernel, handed
# cmdline: simtee.delay_ms=200
# limit: 240

began() { unit_us "$1" starting "$2"; }
ready() { unit_us "$1" started "$2"; }
adopted() { ends in-use adopted; }
lost() { ends failed heap-dead; }
warns() { like "$(warnings_of protheapd)" "*$GPU: failed*"; }
writable() { nsenter -t "$(main_process protheapd)" -m busybox sh -c 'for path; do mkdir $path/new 2>&1 | grep -q "Read-only" || echo $path; done' sh "$@"; }
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(main_process protheapd)/status"; }

bound=$(kernel_us 'protheap: bound to')
check 'the binder of the initrd reports that it is ready' at_least "$(ready protheap-bind.service initrd)" 1
check 'the binder is ready before udev triggers the loading of drivers' at_least "$(began systemd-udev-trigger.service initrd)" "$(ready protheap-bind.service initrd)"
check 'udev loads the simulated GPU when the GPU is held' at_least "$(kernel_us 'csfmodel: GPU')" "$(kernel_us 'protheap: held')"
check 'panthor probes after the binding was committed' at_least "$(kernel_us 'panthor fb000000.gpu')" "$bound"
check 'the binding is committed before the switch of root' at_least "$(began initrd-switch-root.service initrd)" "$bound"
check 'the next root does not start its binder' is "$(unit_says ConditionResult protheap-bind)" no
check 'the next root does not load protheap.ko again' is "$(unit_says ConditionResult modprobe@protheap)" no
check 'no buffer is allocated twice' is "$(attr state) $(buffers)" 'in-use 17'

check 'systemd starts the daemon' wait_until 10 unit_is active protheapd
check 'the daemon adopts the binding' wait_until 5 adopted
check 'all users can read the state of the daemon' is "$(stat -c %a /run/protheap $STATE /run/protheap/heaps | tr '\n' ' ')" '755 644 755 '
check 'the daemon can write to no directory of /sys except its own in configfs' is "$(writable /sys/block /sys/bus /sys/class /sys/devices /sys/fs/cgroup /sys/kernel /sys/kernel/config /sys/kernel/debug /sys/module $CONFIG)" $CONFIG
check 'the only capability of the daemon is CAP_SYS_ADMIN' is "$(status CapEff)" 0000000000200000
check 'the daemon has a filter for system calls' is "$(status Seccomp)" 2
check 'no unit has failed' empty failed_units
check 'protheap-bind logs nothing' empty log_of protheap-bind
check 'protheapd logs no warning' empty warnings_of protheapd

daemon=$(main_process protheapd)
anew() { unit_is active protheapd && differs "$(main_process protheapd)" "$daemon"; }
need kill -KILL "$daemon"
check 'systemd restarts a killed daemon' wait_until 10 anew
check 'the restarted daemon adopts the binding' wait_until 5 adopted

# The sandbox must permit the daemon to receive uevents, to allocate from heaps, and to write to configfs.
need rmmod panthor
need wait_until 5 ends bound adopted
drop_tee
check 'the daemon detects that the TEE is gone' wait_until 10 lost
check 'protheapd logs a warning of the failed binding' wait_until 10 warns
restore_tee
check 'the daemon binds again when the TEE is back' wait_until 10 holds "$CONFIG/$GPU/state" bound
need modprobe panthor
check 'the GPU uses the new binding' wait_until 5 holds "$CONFIG/$GPU/state" in-use
need systemctl stop protheapd
check 'the binding remains in use when the daemon is stopped' is "$(attr state)" in-use
