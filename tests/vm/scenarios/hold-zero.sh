# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protheap.hold=0 on the kernel command line: no window ever opens
# cmdline: protheap.hold=0

load_protheap
load_tee delay_ms=1000
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected heap-late'
check 'the GPU was not held' is "$(state_of /gpus/0/held_us)" 0
check 'the binding is merely open' is "$(attr state)" open
load_gpu
check 'the GPU probes at once' gpu_probed

need wait_until 5 exists "$(heap protected,secure-video)"
run_binder
check 'what is there is bound all the same' wait_until 2 holds "$CONFIG/$GPU/state" in-use
