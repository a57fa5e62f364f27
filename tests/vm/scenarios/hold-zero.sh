# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with protheap.hold=0 on the kernel command line, no GPU is ever held
# cmdline: protheap.hold=0

load_protheap
load_tee delay_ms=1000
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports state unprotected and reason heap-late' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected heap-late'
check 'the binder does not hold the GPU' is "$(state_of /gpus/0/held_us)" 0
check 'the binding is open' is "$(attr state)" open
load_gpu
check 'the GPU probes at once' gpu_probed

need wait_until 5 exists "$(heap protected,secure-video)"
run_binder
check 'the binder binds a heap that exists' wait_until 2 holds "$CONFIG/$GPU/state" in-use
