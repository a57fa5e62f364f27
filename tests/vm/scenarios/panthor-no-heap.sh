# SPDX-License-Identifier: MIT OR Apache-2.0
# about: without a binding, panthor probes as in Linux, and refuses protected groups

load_model
load_tee heaps=
load_protheap
run_binder
check 'state.json reports state unprotected and reason no-heap' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-heap'
load_panthor
keep_awake
check 'panthor probes' is "$(driver)" panthor
check 'the firmware has no protected section' is "$(firmware_says protected-section)" none
check 'ordinary jobs run' is "$(panthor job --count 20)" 'jobs 20/20'
check 'panthor refuses a protected group' is "$(panthor group --protected 2>&1)" 'groups 0 EOPNOTSUPP'
keep_groups 2 --job
check 'the suspend buffers of ordinary groups are in ordinary memory' is "$(group_buffers)" 'ordinary ordinary'
release_groups
check 'a job that needs protected mode fails' like "$(panthor protected-job --ordinary --heap system 2>&1)" '*fatal*'
check 'an ordinary job runs after the failed one' is "$(panthor job)" 'jobs 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine
