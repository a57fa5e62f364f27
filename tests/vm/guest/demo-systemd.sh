# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo --systemd`: prints the events of the boot, which the kernel log and the journal have, and then runs
# jobs on the GPU.

# event MICROSECONDS WHO WHAT: prints an event, or nothing if it has no time
event() { [ -z "$1" ] || printf 'story %d %-14s %s\n' "$@"; }
# said WORDS: prints the text after these words in the kernel log
said() { dmesg | sed -n "s/.*$1//p" | head -n 1; }

taken_over() { like "$(state_of /written_by)" 'protheapd *'; }
need wait_until 30 taken_over

held=$(kernel_us 'protheap: held')
bound=$(kernel_us 'protheap: bound to')
probed=$(kernel_us "panthor $GPU")
{
	event "$(unit_us protheap-bind.service starting initrd)" systemd 'the initrd starts protheap-bind.service'
	event "$held" protheap.ko "$GPU is held$(said 'protheap: held')"
	event "$(unit_us protheap-bind.service started initrd)" systemd 'protheap-bind.service is ready: the boot continues'
	event "$(unit_us systemd-udev-trigger.service starting initrd)" systemd 'udev starts to load drivers'
	event "$bound" protheap.ko "$GPU is bound$(said 'protheap: bound')"
	event "$probed" panthor "$GPU probes"
	event "$(unit_us initrd-switch-root.service starting initrd)" systemd 'switches to the root on the disk'
	event "$(unit_us protheap-bind.service started system)" systemd 'protheap-bind.service has no GPU left to bind'
	event "$(unit_us protheapd.service started system)" systemd 'protheapd.service has adopted the binding'
} | sort -n -k 2

need wait_until 30 gpu_probed
keep_groups 2 --protected
event "$(protheap-guest now)" panthor 'two protected groups have suspend buffers'
need panthor protected-job --count 3
event "$(protheap-guest now)" csfmodel "the firmware has entered protected mode $(model protected-entries) times for jobs"
protheap-guest report "$GPU" "$(((bound - held) / 1000))" "$([ "$bound" -lt "$probed" ] && echo true || echo false)"
release_groups
