# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor of the patched kernel probes the simulated GPU without protheap.ko, and its firmware has no protected section
# board: rk3588 imx95 mt8196
# without: protheap

load_model
load_panthor
check 'panthor is bound to the GPU' is "$(driver)" panthor
check 'the firmware has booted once' is "$(model boots)" 1
check 'the firmware has no protected section' is "$(firmware_says protected-section)" none
check 'the firmware has not prepared protected mode' is "$(firmware_says prepared)" 0
check 'the GPU suspends when it is idle' wait_until 5 is_count 1 firmware_says halted
check 'the GPU resumes' keep_awake
check 'the firmware resumes without another boot' is "$(model boots) $(model resumes)" '1 1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
