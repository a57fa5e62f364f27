# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor releases its protected memory for a hibernation image, and takes it again after the restore
# disk: 512
# limit: 60

need mkswap /dev/vda
need swapon /dev/vda
hibernate() { protheap-guest write /sys/power/disk test_resume && protheap-guest write /sys/power/state disk; }
BYTES=$((262144 + 3 * 65536))
bound_panthor 3
need wait_until 10 exists /dev/dri/renderD128
check 'a protected job runs' is "$(panthor protected-job 2>&1)" 'protected-jobs 1/1'
keep_groups 1 --protected
check 'a protected group prevents hibernation' fails_with EBUSY hibernate
check 'the kernel logs the driver and the device that prevent hibernation' is "$(dmesg | grep -c "panthor $GPU: protheap: failed to prepare for hibernation: driver panthor holds 1 suspend buffers")" 1
release_groups
check 'the binding has all its memory after the refused hibernation' wait_until 5 is_count "$BYTES" given_out
check 'a protected job runs after the refused hibernation' is "$(panthor protected-job 2>&1)" 'protected-jobs 1/1'
check 'the kernel takes and restores an image without a protected group' hibernate
check 'the image contains no protected buffer' is "$(dmesg | grep -c 'protheap: released 4 protected buffers for hibernation')" 1
check 'the binding has all its memory after hibernation' wait_until 5 is_count "$BYTES" given_out
check 'panthor uses the binding after hibernation' wait_until 5 is_count in-use attr state
check 'a protected job runs after hibernation' is "$(panthor protected-job 2>&1)" 'protected-jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
all_comes_back
