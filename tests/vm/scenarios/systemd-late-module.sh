# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protheap.ko is loaded while protheapd runs, whose sandbox was made without it: the daemon binds nevertheless
# init: systemd
# source: kernel, handed
# cmdline: modprobe.blacklist=protheap,panthor,tyr,csfgpu
# limit: 240

bound() { holds "$CONFIG/$GPU/state" bound; }

check 'the daemon needs no module' wait_until 10 unit_is active protheapd
check 'it says that there is none' is "$(state_of /delivery)" none
need modprobe protheap
check 'once there is one, it binds' wait_until 20 bound
check 'no more buffers than needed' is "$(buffers)" 17
need rmdir "$CONFIG/$GPU"
check 'it does not keep the module' wait_until 5 rmmod protheap
need modprobe protheap
check 'loaded again, it is bound again' wait_until 20 bound
check 'no unit has failed' empty failed_units
