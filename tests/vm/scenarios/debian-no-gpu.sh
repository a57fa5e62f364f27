# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine without a GPU that Protheap is for, Debian's packages start nothing
# init: systemd
# root: debian
# overlay: no-gpu
# limit: 300

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin

# Debian's own dpkg, because busybox has one too.
check 'the board has no GPU' is "${GPUS:-none}" none
# Even one that has the GPU driver is left alone.
need rm /usr/sbin/update-initramfs
printf '#!/bin/sh\necho "$*" >>/run/update-initramfs\n' >/usr/sbin/update-initramfs
chmod +x /usr/sbin/update-initramfs
INITRD=/boot/initrd.img-$(uname -r)
mkdir /run/initrd
touch /run/initrd/panthor.ko
(cd /run/initrd && echo panthor.ko | /usr/bin/cpio -o -H newc) >"$INITRD" 2>/dev/null
need like "$(lsinitramfs "$INITRD")" panthor.ko
check 'they can be installed' /usr/bin/dpkg --install /debs/1/*.deb
sleep 5
check 'the binder is not started' is "$(unit_says ActiveEnterTimestampMonotonic protheap-bind)" 0
check 'nor the daemon' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'they can be upgraded' /usr/bin/dpkg --install /debs/2/*.deb
sleep 5
check 'no initrd was updated' absent /run/update-initramfs
check 'that starts nothing either' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
# As in an image for other machines, which is being built.
need mount -t tmpfs none /run/systemd
check 'where systemd does not run, the initrd decides' /usr/lib/protheap/update-initrds
need umount /run/systemd
check 'and it has the driver' holds /run/update-initramfs "-u -k $(uname -r)"
check 'no unit has failed' empty failed_units
