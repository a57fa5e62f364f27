# SPDX-License-Identifier: MIT OR Apache-2.0
# about: under systemd, the initrd's binder holds the GPU before udev loads panthor, and the next root's daemon takes over
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
check 'the binder of the initrd is ready' at_least "$(ready protheap-bind.service initrd)" 1
check 'before udev looks for drivers to load' at_least "$(began systemd-udev-trigger.service initrd)" "$(ready protheap-bind.service initrd)"
check 'which loads that of the GPU when it is held' at_least "$(kernel_us 'csfmodel: GPU')" "$(kernel_us 'protheap: held')"
check 'panthor probes when it is bound' at_least "$(kernel_us 'panthor fb000000.gpu')" "$bound"
check 'all of that before the switch of root' at_least "$(began initrd-switch-root.service initrd)" "$bound"
check 'the next root needs no binder' is "$(unit_says ConditionResult protheap-bind)" no
check 'nor a modprobe of what is loaded' is "$(unit_says ConditionResult modprobe@protheap)" no
check 'nothing was allocated twice' is "$(attr state) $(buffers)" 'in-use 17'

check 'the daemon is there' wait_until 10 unit_is active protheapd
check 'and has adopted the binding' wait_until 5 adopted
check 'everybody can read what it tells' is "$(stat -c %a /run/protheap $STATE /run/protheap/heaps | tr '\n' ' ')" '755 644 755 '
check 'of /sys it can only write what it binds' is "$(writable /sys/block /sys/bus /sys/class /sys/devices /sys/fs/cgroup /sys/kernel /sys/kernel/config /sys/kernel/debug /sys/module $CONFIG)" $CONFIG
check 'it can do nothing that only root can' is "$(status CapEff)" 0000000000000000
check 'and not call the whole kernel' is "$(status Seccomp)" 2
check 'no unit has failed' empty failed_units
check 'protheap-bind logs nothing' empty log_of protheap-bind
check 'protheapd logs no warning' empty warnings_of protheapd

daemon=$(main_process protheapd)
anew() { unit_is active protheapd && differs "$(main_process protheapd)" "$daemon"; }
need kill -KILL "$daemon"
check 'killed, it is started anew' wait_until 10 anew
check 'and adopts the binding' wait_until 5 adopted

# What only a sandbox that is not too tight lets it do: hear of heaps, allocate of them, and write what it binds.
need rmmod panthor
need wait_until 5 ends bound adopted
drop_tee
check 'it sees the TEE go' wait_until 10 lost
check 'protheapd logs a warning of the failed binding' wait_until 10 warns
restore_tee
check 'and come back, and binds anew' wait_until 10 holds "$CONFIG/$GPU/state" bound
need modprobe panthor
check 'the GPU uses that' wait_until 5 holds "$CONFIG/$GPU/state" in-use
need systemctl stop protheapd
check 'without the daemon the binding stays' is "$(attr state)" in-use
