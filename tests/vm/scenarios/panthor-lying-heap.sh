# SPDX-License-Identifier: MIT OR Apache-2.0
# about: negative control: a heap of ordinary memory that nobody can tell from a TEE's is found out by the model

load_model
load_tee ordinary=1
load_protheap
run_binder
check 'the binding is made: it looks like a TEE' is "$(attr state) $(attr exporter)" 'bound tee'
load_panthor
check 'panthor takes it' is "$(driver) $(attr state)" 'panthor in-use'
check 'the protected section is of ordinary memory' is "$(firmware_says protected-section)" ordinary
check 'the model complains' differs "$(check_model)" fine
check 'protected mode cannot be entered' like "$(PANTHOR_TIMEOUT=5 panthor protected-job 2>&1)" 'protected-jobs 0/1*'
check 'but faults' at_least "$(model protected-faults)" 1
