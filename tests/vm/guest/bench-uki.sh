# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `bench image`: prints the duration of the boot as systemd measures it: of firmware and stub, until the
# system was up, and until the last job had finished.

manager_us() { systemctl show --property "$1TimestampMonotonic" --value; }
up_us() { systemctl show --property ActiveEnterTimestampMonotonic --value multi-user.target; }
finished() { [ "$(manager_us Finish)" != 0 ]; }
need wait_until 60 finished
echo "boot $(manager_us Firmware) $(up_us) $(manager_us Finish)"
