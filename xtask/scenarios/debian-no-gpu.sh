# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a machine without a GPU that Protheap is for, Debian's packages start nothing
# init: systemd
# root: debian
# overlay: no-gpu
# limit: 300

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin

# Debian's own dpkg, because busybox has one too.
check 'there is no GPU' is "$GPUS" ''
# Its initrd is of no interest here.
need ln -sf ../bin/true /usr/sbin/update-initramfs
check 'they can be installed' /usr/bin/dpkg --install /debs/1/*.deb
sleep 5
check 'the binder is not started' is "$(unit_says ActiveEnterTimestampMonotonic protheap-bind)" 0
check 'nor the daemon' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'they can be upgraded' /usr/bin/dpkg --install /debs/2/*.deb
sleep 5
check 'that starts nothing either' is "$(unit_says ActiveEnterTimestampMonotonic protheapd)" 0
check 'no unit has failed' is "$(has_failed)" ''
