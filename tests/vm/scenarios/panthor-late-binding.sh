# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor probed first: a binding that comes later boots the firmware again, and nobody loses anything
# source: kernel, handed
# tee: sim, static

load_model
load_tee
load_protheap
load_panthor
check 'panthor has probed without protected memory' is "$(driver) $(firmware_says protected-section)" 'panthor none'
check 'a protected group is refused' is "$(panthor group --protected 2>&1)" 'groups 0 EOPNOTSUPP'
keep_groups 3 --job
make_binding protected,secure-video 65536 4
check 'the firmware boots again' wait_until 5 is_count 2 model boots
check 'with its protected section' is "$(firmware_says protected-section)" carve-out
check 'for which it has prepared itself' is "$(firmware_says prepared)" 1
check 'the binding is in use' is "$(attr state)" in-use
check 'protected groups work' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
release_groups
check 'the groups of before have run their second job' is "$(groups_said)" 'groups 3, jobs 3/3, jobs 3/3, destroyed 3/3'
check 'every group that was resumed had the state it was suspended with' equal_nonzero "$(model group-resumes)" "$(model resumed-intact)"
check 'the model has nothing to complain of' is "$(check_model)" fine
