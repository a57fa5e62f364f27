# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo --systemd`: all is done when this begins, but for the GPU's work. It tells of it what the kernel's
# log and systemd's journal have.

# tell MICROSECONDS WHO WHAT: nothing, if it never was
tell() { [ -z "$1" ] || printf 'story %d %-14s %s\n' "$@"; }
# said WORDS: what the kernel's log has after them
said() { dmesg | sed -n "s/.*$1//p" | head -n 1; }

taken_over() { like "$(state_of /written_by)" 'protheapd *'; }
need wait_until 30 taken_over

held=$(kernel_us 'protheap: held')
bound=$(kernel_us 'protheap: bound to')
probed=$(kernel_us "panthor $GPU")
{
	tell "$(unit_us protheap-bind.service starting initrd)" systemd 'the initrd starts protheap-bind.service'
	tell "$held" protheap.ko "$GPU is held$(said 'protheap: held')"
	tell "$(unit_us protheap-bind.service started initrd)" systemd 'protheap-bind.service is ready: the boot goes on'
	tell "$(unit_us systemd-udev-trigger.service starting initrd)" systemd 'udev begins to load drivers'
	tell "$bound" protheap.ko "$GPU is bound$(said 'protheap: bound')"
	tell "$probed" panthor "$GPU probes"
	tell "$(unit_us initrd-switch-root.service starting initrd)" systemd 'switches to the root on the disk'
	tell "$(unit_us protheap-bind.service started system)" systemd 'protheap-bind.service finds nothing left to do'
	tell "$(unit_us protheapd.service started system)" systemd 'protheapd.service has taken the binding over'
} | sort -n -k 2

need wait_until 30 gpu_probed
keep_groups 2 --protected
tell "$(protheap-guest now)" panthor 'two protected groups have got their suspend buffers'
need panthor protected-job --count 3
tell "$(protheap-guest now)" csfmodel "the firmware has entered protected mode $(model protected-entries) times, for jobs"
protheap-guest report "$GPU" "$(((bound - held) / 1000))" "$([ "$bound" -lt "$probed" ] && echo true || echo false)"
release_groups
