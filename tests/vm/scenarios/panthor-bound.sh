# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the real panthor takes its firmware's section and its groups' suspend buffers from the binding
# board: rk3588 imx95 mt8196
# source: kernel, handed
# tee: sim, static, dynamic-8m, ffa

load_model
load_tee
load_protheap
run_binder
check 'the binding is made' is "$(attr state)" bound
load_panthor
keep_awake
check 'panthor probes' is "$(driver)" panthor
check 'the binding is in use' is "$(attr state)" in-use
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'as a whole' is "$(firmware_says protected-section-pages)" 64
check 'the firmware has prepared itself for protected mode' is "$(firmware_says prepared)" 1
check 'at its only boot' is "$(model boots)" 1

check 'jobs run' is "$(panthor job --count 20)" 'jobs 20/20'
check 'for which no suspend buffer is taken' is "$(attr suspend_in_use)" 0
keep_groups 2 --job
check 'nor for groups that are not protected' is "$(attr suspend_in_use)" 0
check 'whose buffers are ordinary' is "$(group_buffers)" 'ordinary ordinary'
release_groups
keep_groups 2 --protected --job
check 'protected groups take one each' is "$(attr suspend_in_use)" 2
check 'which is protected, and their other one is not' is "$(group_buffers)" 'ordinary carve-out'
check 'of the size that the firmware says' is "$(awk '{ print $11 }' $MODEL/groups | sort -u)" 65536
release_groups
check 'and give it back' wait_until 2 holds "$CONFIG/$GPU/suspend_in_use" 0
check 'the model has nothing to complain of' is "$(check_model)" fine
