# SPDX-License-Identifier: MIT OR Apache-2.0
# about: dpkg installs Debian's packages, upgrades them while the GPU is in use, and removes them: the binder keeps running, and no file is left
# init: systemd
# root: debian
# cmdline: simtee.delay_ms=200
# limit: 600

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin
INITRD=/boot/initrd.img-$(uname -r)

# Debian's own, because busybox has one as well; its output is in /run/dpkg.log
does() { /usr/bin/dpkg "$@" >/run/dpkg.log 2>&1 || { cat /run/dpkg.log; return 1; }; }
all() { echo protheap protheap-bind protheap-client-dev; }
# tree: prints all files except dpkg's records, logs and the state of initramfs-tools
tree() {
	find /etc /usr /var /run/protheap /run/modprobe.d 2>/dev/null |
		grep -vE '^/var/(lib/(dpkg|initramfs-tools)|log|tmp)/' | sort
}
# made: an initrd was made since the last call
made() {
	old=$(cat /run/initrd.inode 2>/dev/null)
	stat -c %i "$INITRD" >/run/initrd.inode
	[ -s "$INITRD" ] && differs "$(cat /run/initrd.inode)" "$old"
}
untouched() { is "$(main_process protheap-bind)" "$BINDER"; }

has_binder() { is "$(lsinitramfs "$INITRD" | grep -c '^usr/bin/protheap-bind$')" "$1"; }

need journalctl --update-catalog
# One kernel whose initrd contains the GPU driver, and one whose initrd does not.
echo panthor >>/etc/initramfs-tools/modules
need /usr/sbin/update-initramfs -u -k "$(uname -r)"
OTHER=/boot/initrd.img-7.3.99
mkdir /usr/lib/modules/7.3.99
touch /usr/lib/modules/7.3.99/modules.dep
(cd / && echo etc/passwd | /usr/bin/cpio -o -H newc) >$OTHER 2>/dev/null
need lsinitramfs $OTHER
stat -c %i $OTHER >/run/other.inode
stat -c %i "$INITRD" >/run/initrd.inode
# The state of the initrd's binder belongs to this boot.
rm -rf /run/protheap
tree >/run/before
need wait_until 10 holds "$CONFIG/$GPU/state" in-use
need unit_is inactive protheapd

check 'dpkg installs the packages' does --install /debs/1/*.deb
check 'dpkg reports no broken package' empty /usr/bin/dpkg --audit
check 'the packages do not start the binder' is "$(unit_says ActiveEnterTimestampMonotonic protheap-bind)" 0
check 'the packages enable the binder for the next boot' like "$(systemctl list-dependencies --plain sysinit.target)" '*protheap-bind.service*'
check 'the GPU starts the daemon' wait_until 20 unit_is active protheapd
check 'the installed daemon adopts the binding' wait_until 20 ends in-use adopted
check 'the daemon has its name on the bus' wait_until 20 like "$(property manager Version)" 's "*'
check 'the message catalog has the entry of a binding' like "$(journalctl --list-catalog 09db2812771449af8b6825897e91babb)" '*protected heap*'
check 'the packages make the directory of local policies' exists /etc/protheap/policies
check 'the packages update the initrd' made
check 'the updated initrd contains the binder' has_binder 1

# A binder that is running, as on a board whose heap is late.
mkdir -p /run/systemd/system/protheap-bind.service.d
printf '[Service]\nType=exec\nExecStart=\nExecStart=/usr/bin/sleep 3600\n' >/run/systemd/system/protheap-bind.service.d/long.conf
need systemctl daemon-reload
need systemctl start protheap-bind
BINDER=$(main_process protheap-bind)
keep_groups 2 --protected
daemon=$(main_process protheapd)
check 'dpkg upgrades the packages' does --install /debs/2/*.deb
check 'the upgrade neither stops nor restarts the binder' untouched
check 'the upgrade restarts the daemon' wait_until 20 started_anew protheapd "$daemon"
check 'the upgraded daemon adopts the binding' wait_until 20 ends in-use adopted
check 'the binding remains in use during the upgrade' is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
check 'the upgrade updates the initrd' made
check 'no unit has failed' empty failed_units
check 'protheapd logs no warning' empty warnings_of protheapd

check 'dpkg removes the packages' does --remove $(all)
check 'the removal leaves the binder running' untouched
check 'the removal stops the daemon' unit_is inactive protheapd
check 'the binding remains in use after the removal' is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
check 'the removal updates the initrd' made
check 'the initrd has no binder after the removal' has_binder 0
check 'the packages never update an initrd without a GPU driver' holds /run/other.inode "$(stat -c %i $OTHER)"
# The update was shown above, and takes 15 s each time.
need ln -sf ../bin/true /usr/sbin/update-initramfs
release_groups
need systemctl stop protheap-bind
rm -r /run/systemd/system/protheap-bind.service.d
check 'dpkg purges the packages' does --purge $(all)
tree >/run/after
check 'no file is left after the purge' diff /run/before /run/after

check 'dpkg installs the packages again' does --install /debs/2/*.deb
check 'the daemon starts after the second installation' wait_until 20 unit_is active protheapd
check 'the daemon of the second installation adopts the binding' wait_until 20 ends in-use adopted
prefer protected,secure-video | policy acme,a9
check 'dpkg purges installed packages at once' does --purge $(all)
check 'the purge leaves the policy of the administrator' exists /etc/protheap/policies/acme,a9.toml
check 'no unit has failed' empty failed_units
