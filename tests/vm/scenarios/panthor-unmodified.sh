# SPDX-License-Identifier: MIT OR Apache-2.0
# about: negative control: panthor as Linux 7.3 has it has no protected section, no protected groups and no protected mode

use_panthor unmodified
load_model
load_tee
load_protheap
run_binder
check 'the binding is made' is "$(attr state)" bound
load_panthor
keep_awake
check 'panthor probes' is "$(driver)" panthor
check 'the binding is not used' is "$(attr state)" bound
check 'the firmware has no protected section' is "$(firmware_says protected-section) $(firmware_says prepared)" 'none 0'
check 'a protected group is not known' is "$(panthor group --protected 2>&1)" 'groups 0 ENOTTY'
keep_groups 1 --job
check 'the suspend buffer for protected mode is of ordinary memory' is "$(group_buffers)" 'ordinary ordinary'
release_groups
check 'work that needs protected mode never ends' like "$(PANTHOR_TIMEOUT=2 panthor protected-job --ordinary 2>&1)" '*ETIME*'
check 'protected mode is never entered' is "$(model protected-entries)" 0
check 'all else works' is "$(panthor job --count 20)" 'jobs 20/20'
