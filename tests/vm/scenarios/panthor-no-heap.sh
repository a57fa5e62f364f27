# SPDX-License-Identifier: MIT OR Apache-2.0
# about: without a binding, panthor probes as it always has, and says that it has no protected groups

load_model
load_tee heaps=
load_protheap
run_binder
check 'there is no heap' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-heap'
load_panthor
keep_awake
check 'panthor probes' is "$(driver)" panthor
check 'the firmware has no protected section' is "$(firmware_says protected-section)" none
check 'jobs run' is "$(panthor job --count 20)" 'jobs 20/20'
check 'a protected group is refused' is "$(panthor group --protected 2>&1)" 'groups 0 EOPNOTSUPP'
keep_groups 2 --job
check 'the others have what they had' is "$(group_buffers)" 'ordinary ordinary'
release_groups
check 'work that needs protected mode is not waited for' like "$(panthor protected-job --ordinary --heap system 2>&1)" '*fatal*'
check 'and the GPU is well after it' is "$(panthor job)" 'jobs 1/1'
check 'the model has nothing to complain of' is "$(check_model)" fine
