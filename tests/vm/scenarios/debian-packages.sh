# SPDX-License-Identifier: MIT OR Apache-2.0
# about: dpkg installs Debian's packages, upgrades them while the GPU is in use, and removes them: the binder goes on, nothing is left
# init: systemd
# root: debian
# cmdline: simtee.delay_ms=200
# limit: 600

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin
INITRD=/boot/initrd.img-$(uname -r)

# Debian's own, because busybox has one too; its words are in /run/dpkg.log
does() { /usr/bin/dpkg "$@" >/run/dpkg.log 2>&1 || { cat /run/dpkg.log; return 1; }; }
all() { echo protheap protheap-bind protheap-client-dev; }
# What is there, but for dpkg's own records and for initrds
tree() {
	find /etc /usr /var /run/protheap /run/modprobe.d 2>/dev/null |
		grep -vE '^/var/(lib/(dpkg|initramfs-tools)|log|tmp)/' | sort
}
# The initrd that was made since it was last asked for
made() {
	old=$(cat /run/initrd.inode 2>/dev/null)
	stat -c %i "$INITRD" >/run/initrd.inode
	[ -s "$INITRD" ] && differs "$(cat /run/initrd.inode)" "$old"
}
untouched() { is "$(main_process protheap-bind)" "$BINDER"; }

has_binder() { is "$(lsinitramfs "$INITRD" | grep -c '^usr/bin/protheap-bind$')" "$1"; }

need journalctl --update-catalog
# One kernel whose initrd has the GPU driver, and one whose initrd has not.
echo panthor >>/etc/initramfs-tools/modules
need /usr/sbin/update-initramfs -u -k "$(uname -r)"
OTHER=/boot/initrd.img-7.3.99
mkdir /usr/lib/modules/7.3.99
touch /usr/lib/modules/7.3.99/modules.dep
(cd / && echo etc/passwd | /usr/bin/cpio -o -H newc) >$OTHER 2>/dev/null
need lsinitramfs $OTHER
stat -c %i $OTHER >/run/other.inode
stat -c %i "$INITRD" >/run/initrd.inode
# What the initrd's binder has left is of this boot.
rm -rf /run/protheap
tree >/run/before
need wait_until 10 holds "$CONFIG/$GPU/state" in-use
need unit_is inactive protheapd

check 'they can be installed' does --install /debs/1/*.deb
check 'dpkg misses nothing' empty /usr/bin/dpkg --audit
check 'the binder is not started' is "$(unit_says ActiveEnterTimestampMonotonic protheap-bind)" 0
check 'but will be at the next boot' like "$(systemctl list-dependencies --plain sysinit.target)" '*protheap-bind.service*'
check 'the GPU that is there starts the daemon' wait_until 20 unit_is active protheapd
check 'which adopts what is bound' wait_until 20 ends in-use adopted
check 'and has its name on the bus' wait_until 20 like "$(property manager Version)" 's "*'
check 'the catalog knows its messages' like "$(journalctl --list-catalog 09db2812771449af8b6825897e91babb)" '*protected heap*'
check 'there is a directory for policies' exists /etc/protheap/policies
check 'the initrd was made anew' made
check 'and has the binder' has_binder 1

# One that is at work, as on a board whose heap is late.
mkdir -p /run/systemd/system/protheap-bind.service.d
printf '[Service]\nType=exec\nExecStart=\nExecStart=/usr/bin/sleep 3600\n' >/run/systemd/system/protheap-bind.service.d/long.conf
need systemctl daemon-reload
need systemctl start protheap-bind
BINDER=$(main_process protheap-bind)
keep_groups 2 --protected
daemon=$(main_process protheapd)
check 'they can be upgraded' does --install /debs/2/*.deb
check 'the binder is neither stopped nor started anew' untouched
check 'the daemon is' wait_until 20 started_anew protheapd "$daemon"
check 'and adopts what is bound' wait_until 20 ends in-use adopted
check 'which is in use all the time' is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
check 'the initrd was made anew' made
check 'no unit has failed' empty failed_units
check 'protheapd logs no warning' empty warnings_of protheapd

check 'they can be removed' does --remove $(all)
check 'the binder is still at work' untouched
check 'the daemon is gone' unit_is inactive protheapd
check 'the binding stays' is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
check 'the initrd was made anew' made
check 'without the binder' has_binder 0
check 'the initrd without a GPU driver was never made anew' holds /run/other.inode "$(stat -c %i $OTHER)"
# That is shown, and takes a quarter of a minute each time.
need ln -sf ../bin/true /usr/sbin/update-initramfs
release_groups
need systemctl stop protheap-bind
rm -r /run/systemd/system/protheap-bind.service.d
check 'what is left can be purged' does --purge $(all)
tree >/run/after
check 'then nothing is left' diff /run/before /run/after

check 'they can be installed again' does --install /debs/2/*.deb
check 'the daemon comes back' wait_until 20 unit_is active protheapd
check 'and adopts what is bound' wait_until 20 ends in-use adopted
prefer protected,secure-video | policy acme,a9
check 'all of it can go at once' does --purge $(all)
check 'but what somebody wrote' exists /etc/protheap/policies/acme,a9.toml
check 'no unit has failed' empty failed_units
