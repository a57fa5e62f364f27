#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Terminates a binder that still waits for a heap, because /dev and /proc are moved to the next root. The hold belongs
# to the kernel and continues, and the binder of the next root waits until the same deadline.

# Only a binder that has found a GPU makes this directory.
if [ -d /run/protheap ]; then
    for exe in /proc/[0-9]*/exe; do
        pid=${exe#/proc/}
        [ "$(readlink "$exe" 2> /dev/null)" != /usr/bin/protheap-bind ] || kill "${pid%/exe}"
    done
fi
