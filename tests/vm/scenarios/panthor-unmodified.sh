# SPDX-License-Identifier: MIT OR Apache-2.0
# about: negative control: panthor of Linux 7.3 has no protected section, no protected groups and no protected mode

use_panthor unmodified
load_model
load_tee
load_protheap
run_binder
check 'the binder commits the binding' is "$(attr state)" bound
load_panthor
keep_awake
check 'panthor probes' is "$(driver)" panthor
check 'panthor does not use the binding' is "$(attr state)" bound
check 'the firmware has no protected section' is "$(firmware_says protected-section) $(firmware_says prepared)" 'none 0'
check 'panthor does not know protected groups' is "$(panthor group --protected 2>&1)" 'groups 0 ENOTTY'
keep_groups 1 --job
check 'the suspend buffer for protected mode is in ordinary memory' is "$(group_buffers)" 'ordinary ordinary'
release_groups
check 'a job that needs protected mode never ends' like "$(PANTHOR_TIMEOUT=2 panthor protected-job --ordinary 2>&1)" '*ETIME*'
check 'the firmware never enters protected mode' is "$(model protected-entries)" 0
check 'ordinary jobs run' is "$(panthor job --count 20)" 'jobs 20/20'
