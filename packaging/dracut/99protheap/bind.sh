#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Starts the holds before udev loads GPU drivers. Executes nothing if no device is named like a GPU, and only the
# binder, once, if it is another GPU. The binder detects whether protheap.ko or configfs is missing. securityfs reports
# whether the kernel is locked down.

for gpu in /sys/bus/platform/devices/*.gpu* /sys/bus/platform/devices/*.mali* /etc/protheap/policies/*.toml*; do
    [ -e "$gpu" ] || continue
    if protheap-bind --has-gpu; then
        modprobe -q protheap
        mount -t configfs configfs /sys/kernel/config 2> /dev/null
        mount -t securityfs securityfs /sys/kernel/security 2> /dev/null
        protheap-bind --detach
    fi
    break
done
unset gpu
