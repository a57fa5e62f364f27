# SPDX-License-Identifier: MIT OR Apache-2.0
# about: AppArmor confines the binder and the daemon from the initrd on, permits each access that they need, and denies all others
# init: systemd
# source: kernel, handed
# cmdline: simtee.delay_ms=200 simtee.heaps=protected,secure-video;protected,trusted-ui
# limit: 150

# AppArmor confines every other scenario with systemd as well, and fails it on a denial. If a newer kernel confines
# nothing, compare tests/vm/guest/apparmor.features with /sys/kernel/security/apparmor/features.

confined() { is "$(cat "/proc/$1/attr/apparmor/current")" "$2 (enforce)"; }
runs() { differs "$(main_process "$1")" 0; }
# denied: prints the denials that the kernel has logged so far for profiles of Protheap
denied() { kernel_log >/run/denied && matching /run/denied 'apparmor="DENIED".* profile="protheap'; }
# confine PROFILE COMMANDS: runs a shell with that profile; commands that are not built in are programs
confine() { busybox sh -c "echo 'changeprofile $1' >/proc/self/attr/apparmor/current && { $2; }" 2>&1; }
find_heap() {
	# shellcheck disable=SC2086
	busctl call org.protheap1 /org/protheap1 org.protheap1.Manager FindHeap 'sa(uu)a{sv}' secure-video 1 $render 0
}

check 'the profiles are loaded before the first binder runs' at_least "$(kernel_us 'protheap: held')" "$(kernel_us 'name="protheap-bind"')"
check 'the profiles are enforced' is "$(sort /sys/kernel/security/apparmor/profiles | tr '\n' ' ')" 'protheap-bind (enforce) protheapd (enforce) '

# The programs that the initrd started.
need wait_until 10 ends in-use adopted
daemon=$(main_process protheapd)
check 'the daemon is confined' confined "$daemon" protheapd
check 'every thread of the daemon is confined' is "$(cat /proc/"$daemon"/task/*/attr/apparmor/current | sort -u)" 'protheapd (enforce)'
keep_groups 2 --protected --job
check 'protected groups have suspend buffers' is "$(attr suspend_in_use)" 2
release_groups

# As if a GPU was not bound. While another process has the lock, the binder waits and can be inspected.
need rm /run/protheap/bound
protheap-guest lock /run/protheap/lock /run/locked /run/unlock &
need wait_until 5 exists /run/locked
need systemctl start --no-block protheap-bind
need wait_until 10 runs protheap-bind
check 'the binder is confined' wait_until 5 confined "$(main_process protheap-bind)" protheap-bind
touch /run/unlock
check 'the confined binder exits' wait_until 20 unit_is inactive protheap-bind

prefer protected,trusted-ui protected,secure-video | policy radxa,rock-5b
check 'the confined daemon detects a new policy' wait_until 10 next_is protected,trusted-ui
need rm /etc/protheap/policies/radxa,rock-5b.toml
check 'the confined daemon detects that a policy was removed' wait_until 10 next_is none
check 'the confined daemon reloads policies on request' bus reload
render=$(protheap-guest node /dev/dri/renderD128 | sed 's/ .*//; s/:/ /')
check 'the confined daemon answers clients' like "$(find_heap)" 'osa{sv} *'
check 'the confined daemon refuses to rebind a GPU in use' fails_with InUse bus rebind "$GPU"
need cp /usr/share/doc/protheap/examples/polkit/50-protheap-kiosk.rules /etc/polkit-1/rules.d
need systemctl restart polkit
check 'the confined daemon permits what polkit permits' as_user 1000 protheap-guest bus open protected,secure-video
check 'the confined daemon refuses what polkit refuses' fails_with AccessDenied as_user 65534 protheap-guest bus open protected,secure-video
check 'protheapd logs no warning' empty warnings_of protheapd
check 'protheap-bind logs nothing' empty log_of protheap-bind
need rmmod panthor
need wait_until 5 ends bound adopted
drop_tee
check 'the confined daemon detects that the TEE is gone' wait_until 10 ends failed heap-dead
restore_tee
check 'the confined daemon binds again when the TEE is back' wait_until 10 holds "$CONFIG/$GPU/state" bound
need modprobe panthor
check 'the GPU uses the new binding' wait_until 10 holds "$CONFIG/$GPU/state" in-use
check 'systemd restarts the confined daemon' systemctl restart protheapd
check 'AppArmor has denied no access so far' empty denied

# The profiles alone, without the sandbox of systemd. The denials are kept from the console, where they would be faults.
dmesg -n 5
for profile in protheap-bind protheapd; do
	check "profile $profile: policies can be read" empty confine $profile ': </usr/lib/protheap/policies/default.toml'
	check "profile $profile: /run/protheap can be written" empty confine $profile ': >/run/protheap/new'
	for path in /etc/passwd /dev/pmem0 /proc/1/environ; do
		check "profile $profile: the kernel denies reading $path" like "$(confine $profile ": <$path")" '*Permission denied*'
	done
	for path in /etc/protheap/policies/new.toml /usr/lib/protheap/new /sys/bus/platform/drivers/panthor/unbind /proc/sys/kernel/modprobe /run/modprobe.d/new.conf; do
		check "profile $profile: the kernel denies writing $path" like "$(confine $profile ": >$path")" '*Permission denied*'
	done
	check "profile $profile: the kernel denies executing a program" like "$(confine $profile '/usr/bin/busybox true')" '*Permission denied*'
	check "profile $profile: the kernel denies sending a signal" like "$(confine $profile 'kill -CONT 1')" '*Permission denied*'
	# The kernel logs two denials for a file that a program may neither create nor write.
	check "profile $profile: the kernel logs each denial" is "$(denied | sed -n "s/.*profile=\"$profile\".* pid=\([0-9]*\).*/\1/p" | sort -u | wc -l)" 10
done
check "profile protheap-bind: the modprobe options of panthor can be written" empty confine protheap-bind ": >$OPTIONS"
check "profile protheapd: the kernel denies writing the modprobe options of panthor" like "$(confine protheapd ": >$OPTIONS")" '*Permission denied*'
