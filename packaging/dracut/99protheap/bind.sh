#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Opens the windows before udev loads GPU drivers. What is missing, protheap.ko or configfs, the binder finds out.

modprobe -q protheap
mount -t configfs configfs /sys/kernel/config 2> /dev/null
protheap-bind --detach
