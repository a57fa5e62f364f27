# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the sandboxes and AppArmor permit the binder and the daemon to set the firmware buffer by ioctl, without protheap.ko
# init: systemd
# cmdline: modprobe.blacklist=protheap,panthor,tyr,csfgpu
# limit: 240

set_by_ioctl() { is "$(state_of /delivery) $(state_of /gpus/0/state)" 'ioctl in-use'; }

check 'the daemon starts before the GPU driver' wait_until 10 unit_is active protheapd
check 'without a driver, the delivery is none' is "$(state_of /delivery)" none
# The DRM core is loaded with the driver, after the sandbox of the daemon was set up.
load_model
need modprobe panthor
check 'the sandboxed daemon sets the buffer in a driver that is loaded later' wait_until 20 set_by_ioctl
check 'the firmware has its protected section' is "$(firmware_says protected-section)" carve-out
need systemctl restart protheapd
check 'the restarted daemon adopts the buffer' wait_until 10 ends in-use adopted
check 'adoption does not reset the GPU' is "$(model boots)" 2
check 'D-Bus has the delivery' is "$(property gpu Delivery)" 's "ioctl"'
check 'D-Bus has the size of suspend buffers' is "$(property gpu SuspendBytes)" 't 65536'

# As if the binder found the driver bound.
need systemctl stop protheapd
need rmmod panthor
need rm -f /run/protheap/bound $STATE
need modprobe panthor
need touch /run/protheap/gpu
need systemctl start protheap-bind
check 'the sandboxed binder sets the buffer in a driver that is bound' wait_until 20 set_by_ioctl
need systemctl start protheapd
check 'the daemon adopts the buffer of the binder' wait_until 10 ends in-use adopted
check 'the display manager is ordered after the daemon' like "$(unit_says Before protheapd)" '*display-manager.service*'
check 'protheapd logs no warning' empty warnings_of protheapd
check 'no unit has failed' empty failed_units
