# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures the hand-over of the firmware buffer to a panthor that runs: from the ioctl until the firmware has booted with
# it, and the reset's part of that.

. /scenarios/bench/common.sh
load_model
load_tee
load_panthor
keep_awake
for _ in $(seq $ROUNDS); do
	forget_trace
	need panthor set-firmware
	echo "figure set $((${seen#took-us } * 1000))"
	echo "figure reset $(($(reset_us) * 1000))"
	need is "$(firmware_says prepared)" 1
	need panthor take-firmware
	echo "figure take-back $((${seen#took-us } * 1000))"
done
