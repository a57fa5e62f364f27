# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `bench image`: how long the boot took, by systemd: firmware and stub before the kernel, then until the
# system was up, and until nothing was to be started any more.

manager_us() { systemctl show --property "$1TimestampMonotonic" --value; }
up_us() { systemctl show --property ActiveEnterTimestampMonotonic --value multi-user.target; }
finished() { [ "$(manager_us Finish)" != 0 ]; }
need wait_until 60 finished
echo "boot $(manager_us Firmware) $(up_us) $(manager_us Finish)"
