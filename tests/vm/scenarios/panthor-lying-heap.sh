# SPDX-License-Identifier: MIT OR Apache-2.0
# about: negative control: the simulated GPU detects a heap of ordinary memory that looks like a heap of the TEE

load_model
load_tee ordinary=1
load_protheap
run_binder
check 'the binder binds the heap, whose exporter is tee' is "$(attr state) $(attr exporter)" 'bound tee'
load_panthor
check 'panthor uses the heap' is "$(driver) $(attr state)" 'panthor in-use'
check 'the protected section is in ordinary memory' is "$(firmware_says protected-section)" ordinary
check 'the simulated GPU reports a violation' differs "$(check_model)" fine
check 'a protected job does not end' like "$(PANTHOR_TIMEOUT=5 panthor protected-job 2>&1)" 'protected-jobs 0/1*'
check 'protected mode causes a fault' at_least "$(model protected-faults)" 1
