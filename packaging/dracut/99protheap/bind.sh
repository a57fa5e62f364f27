#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Opens the windows before udev loads GPU drivers. What is missing, protheap.ko or configfs, the binder finds out.
# securityfs says whether the kernel is locked down.

modprobe -q protheap
mount -t configfs configfs /sys/kernel/config 2> /dev/null
mount -t securityfs securityfs /sys/kernel/security 2> /dev/null
protheap-bind --detach
