# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor releases a buffer that a program has set for a hibernation image, and reports it by an event
# without: protheap
# disk: 512
# limit: 60

need mkswap /dev/vda
need swapon /dev/vda
hibernate() { protheap-guest write /sys/power/disk test_resume && protheap-guest write /sys/power/state disk; }
load_model
load_tee
load_panthor
need wait_until 10 exists /dev/dri/renderD128
# shellcheck disable=SC2016  # uevent sets the variables.
busybox uevent sh -c 'echo "$ACTION ${DEVNAME##*/} $PROTECTED_MEMORY" >>/run/events' &
need panthor set-firmware
check 'a protected job runs' is "$(panthor protected-job --own-suspend)" 'protected-jobs 1/1'
keep_groups 1 --protected --own-suspend
check 'a protected group prevents hibernation' fails_with EBUSY hibernate
check 'the kernel logs why' is "$(dmesg | grep -c 'Failed to release protected memory: -16')" 1
release_groups
check 'the firmware keeps its buffer after the refused hibernation' wait_until 5 is_count 262144 given_out
check 'no event reports a release that was refused' fails grep -q released /run/events
check 'the kernel takes and restores an image without a protected group' hibernate
check 'the buffer was released' is "$(given_out) $(firmware_says protected-section)" '0 none'
check 'an event of the render node reports it' wait_until 5 grep -qx 'change renderD128 released' /run/events
check 'ordinary jobs run after hibernation' is "$(panthor job --count 3)" 'jobs 3/3'
need panthor set-firmware
check 'a protected job runs with a new buffer' is "$(panthor protected-job --own-suspend)" 'protected-jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
