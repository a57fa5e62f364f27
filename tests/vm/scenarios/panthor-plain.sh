# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel's own panthor probes on the modelled GPU, and the firmware finds no protected section
# board: rk3588 imx95 mt8196
# without: protheap

load_model
load_panthor
check 'the driver is panthor' is "$(driver)" panthor
check 'the firmware was booted once' is "$(model boots)" 1
check 'there is no protected section' is "$(firmware_says protected-section)" none
check 'so nothing is prepared for protected mode' is "$(firmware_says prepared)" 0
check 'the GPU goes to sleep' wait_until 5 is_count 1 firmware_says halted
check 'and wakes up' keep_awake
check 'without another boot' is "$(model boots) $(model resumes)" '1 1'
check 'nothing overlaps, and nobody has touched protected memory' is "$(check_model)" fine
