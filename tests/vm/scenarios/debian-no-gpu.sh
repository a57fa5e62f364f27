# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine without a supported GPU, Debian's packages start no program and update no initrd
# init: systemd
# root: debian
# overlay: no-gpu
# limit: 300

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin

# Debian's own dpkg, because busybox has one as well.
check 'the board has no GPU' is "${GPUS:-none}" none
# The packages do not update an initrd on this machine, even if it contains the GPU driver.
need rm /usr/sbin/update-initramfs
printf '#!/bin/sh\necho "$*" >>/run/update-initramfs\n' >/usr/sbin/update-initramfs
chmod +x /usr/sbin/update-initramfs
INITRD=/boot/initrd.img-$(uname -r)
mkdir /run/initrd
touch /run/initrd/panthor.ko
(cd /run/initrd && echo panthor.ko | /usr/bin/cpio -o -H newc) >"$INITRD" 2>/dev/null
need like "$(lsinitramfs "$INITRD")" panthor.ko
check 'dpkg installs the packages' /usr/bin/dpkg --install /debs/1/*.deb
sleep 5
check 'the packages do not start the binder' is "$(unit_says ActiveEnterTimestampMonotonic protheap-bind)" 0
check 'the packages do not start the daemon' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'dpkg upgrades the packages' /usr/bin/dpkg --install /debs/2/*.deb
sleep 5
check 'the packages update no initrd' absent /run/update-initramfs
check 'an upgrade does not start the daemon' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
# As in an image that is built for other machines.
need mount -t tmpfs none /run/systemd
check 'update-initrds exits with status 0 where systemd does not run' /usr/lib/protheap/update-initrds
need umount /run/systemd
check 'update-initrds updates the initrd that contains the GPU driver' holds /run/update-initramfs "-u -k $(uname -r)"
check 'no unit has failed' empty failed_units
