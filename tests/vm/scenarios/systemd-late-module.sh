# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the daemon, whose sandbox was set up before protheap.ko was loaded, binds when the module is loaded
# init: systemd
# source: kernel, handed
# cmdline: modprobe.blacklist=protheap,panthor,tyr,csfgpu
# limit: 240

bound() { holds "$CONFIG/$GPU/state" bound; }

check 'the daemon starts without the module' wait_until 10 unit_is active protheapd
check 'the daemon reports the delivery as none' is "$(state_of /delivery)" none
need modprobe protheap
check 'the daemon binds when the module is loaded' wait_until 20 bound
check 'the daemon allocates only the buffers that the GPU needs' is "$(buffers)" 17
need rmdir "$CONFIG/$GPU"
check 'the daemon does not prevent that the module is unloaded' wait_until 5 rmmod protheap
need modprobe protheap
check 'the daemon binds again when the module is loaded again' wait_until 20 bound
check 'no unit has failed' empty failed_units
