# SPDX-License-Identifier: MIT OR Apache-2.0
# about: AppArmor confines the initrd's binder and all that follows, denies what they never do, and nothing that they do
# init: systemd
# source: kernel, handed
# cmdline: simtee.delay_ms=200 simtee.heaps=protected,secure-video;protected,trusted-ui
# limit: 150

# Every other scenario with systemd is confined as well: the kernel may deny nothing there. If the kernel is a newer one,
# and nothing is confined, look whether tests/vm/guest/apparmor.features is what /sys/kernel/security/apparmor/features says.

confined() { is "$(cat "/proc/$1/attr/apparmor/current")" "$2 (enforce)"; }
runs() { differs "$(main_process "$1")" 0; }
# denied: what the kernel has denied so far by a profile of ours
denied() { kernel_log >/run/denied && matching /run/denied 'apparmor="DENIED".* profile="protheap'; }
# confine PROFILE COMMANDS: a shell with a profile; commands that are no part of the shell would be programs
confine() { busybox sh -c "echo 'changeprofile $1' >/proc/self/attr/apparmor/current && { $2; }" 2>&1; }
find_heap() {
	# shellcheck disable=SC2086
	busctl call org.protheap1 /org/protheap1 org.protheap1.Manager FindHeap 'sa(uu)a{sv}' secure-video 1 $render 0
}

check 'the profiles are there before the first binder' at_least "$(kernel_us 'protheap: held')" "$(kernel_us 'name="protheap-bind"')"
check 'they are enforced' is "$(sort /sys/kernel/security/apparmor/profiles | tr '\n' ' ')" 'protheap-bind (enforce) protheapd (enforce) '

# From the initrd on.
need wait_until 10 ends in-use adopted
daemon=$(main_process protheapd)
check 'the daemon is confined' confined "$daemon" protheapd
check 'with every thread' is "$(cat /proc/"$daemon"/task/*/attr/apparmor/current | sort -u)" 'protheapd (enforce)'
keep_groups 2 --protected --job
check 'groups have their suspend buffers' is "$(attr suspend_in_use)" 2
release_groups

# As where not each GPU was bound. While another has the lock, the binder waits, and can be looked at.
need rm /run/protheap/bound
protheap-guest lock /run/protheap/lock /run/locked /run/unlock &
need wait_until 5 exists /run/locked
need systemctl start --no-block protheap-bind
need wait_until 10 runs protheap-bind
check 'the binder is confined' wait_until 5 confined "$(main_process protheap-bind)" protheap-bind
touch /run/unlock
check 'and ends well' wait_until 20 unit_is inactive protheap-bind

prefer protected,trusted-ui protected,secure-video | policy radxa,rock-5b
check 'the daemon sees a policy come' wait_until 10 next_is protected,trusted-ui
need rm /etc/protheap/policies/radxa,rock-5b.toml
check 'and go' wait_until 10 next_is none
check 'and reads them when it is told to' bus reload
render=$(protheap-guest node /dev/dri/renderD128 | sed 's/ .*//; s/:/ /')
check 'clients are answered' like "$(find_heap)" 'osa{sv} *'
check 'and refused' fails_with InUse bus rebind "$GPU"
need cp /usr/share/doc/protheap/examples/polkit/50-protheap-kiosk.rules /etc/polkit-1/rules.d
need systemctl restart polkit
check 'polkit is asked' as_user 1000 protheap-guest bus open protected,secure-video
check 'and heard' fails_with AccessDenied as_user 65534 protheap-guest bus open protected,secure-video
check 'protheapd logs no warning' empty warnings_of protheapd
check 'protheap-bind logs nothing' empty log_of protheap-bind
need rmmod panthor
need wait_until 5 ends bound adopted
drop_tee
check 'it follows the TEE' wait_until 10 ends failed heap-dead
restore_tee
check 'and binds anew' wait_until 10 holds "$CONFIG/$GPU/state" bound
need modprobe panthor
check 'for the GPU to use' wait_until 10 holds "$CONFIG/$GPU/state" in-use
check 'and begins anew' systemctl restart protheapd
check 'AppArmor has denied nothing so far' empty denied

# The profiles by themselves, without systemd's sandbox. The console, where it would be a fault, is spared of it.
dmesg -n 5
for profile in protheap-bind protheapd; do
	check "$profile may read policies" empty confine $profile ': </usr/lib/protheap/policies/default.toml'
	check "$profile may write in /run/protheap" empty confine $profile ': >/run/protheap/new'
	for path in /etc/passwd /dev/pmem0 /proc/1/environ; do
		check "but not read $path" like "$(confine $profile ": <$path")" '*Permission denied*'
	done
	for path in /etc/protheap/policies/new.toml /usr/lib/protheap/new /sys/bus/platform/drivers/panthor/unbind /proc/sys/kernel/modprobe /run/modprobe.d/new.conf; do
		check "nor write $path" like "$(confine $profile ": >$path")" '*Permission denied*'
	done
	check 'nor start a program' like "$(confine $profile '/usr/bin/busybox true')" '*Permission denied*'
	check 'nor signal one' like "$(confine $profile 'kill -CONT 1')" '*Permission denied*'
	# Of a file that it may not make, and not write either, it tells twice.
	check "$profile: the kernel logs each denial" is "$(denied | sed -n "s/.*profile=\"$profile\".* pid=\([0-9]*\).*/\1/p" | sort -u | wc -l)" 10
done
check "protheap-bind may write modprobe's options of panthor" empty confine protheap-bind ": >$OPTIONS"
check "protheapd may not write modprobe's options of panthor" like "$(confine protheapd ": >$OPTIONS")" '*Permission denied*'
