#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Opens the holds before udev loads GPU drivers. Where no device is named like a GPU nothing is executed, and where that
# is another GPU, the binder once. protheap.ko or configfs may be missing: the binder finds out. securityfs says whether
# the kernel is locked down.

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
