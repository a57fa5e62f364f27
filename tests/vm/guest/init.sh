#!/bin/busybox sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# PID 1 of the test guest: mounts file systems, and runs the scenario.
# busybox finds its applets without links once /proc is mounted.

export PATH=/usr/bin:/bin
/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t configfs configfs /sys/kernel/config
mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null

. /scenario.sh
