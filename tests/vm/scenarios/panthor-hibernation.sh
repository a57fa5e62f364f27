# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor does without protected memory while an image is taken, and has it again afterwards
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
check 'a protected group keeps the machine awake' fails_with EBUSY hibernate
check 'the log names driver and device' is "$(dmesg | grep -c "panthor $GPU: protheap: failed to prepare for hibernation: driver panthor holds 1 suspend buffers")" 1
release_groups
check 'the binding is as before' wait_until 5 is_count "$BYTES" given_out
check 'a protected job runs as before' is "$(panthor protected-job 2>&1)" 'protected-jobs 1/1'
check 'without a group the image is taken and restored' hibernate
check 'no protected buffer was in it' is "$(dmesg | grep -c 'protheap: released 4 protected buffers for hibernation')" 1
check 'the binding is as before' wait_until 5 is_count "$BYTES" given_out
check 'the driver has its buffers' wait_until 5 is_count in-use attr state
check 'a protected job runs again' is "$(panthor protected-job 2>&1)" 'protected-jobs 1/1'
check 'the model has nothing to complain of' is "$(check_model)" fine
all_comes_back
