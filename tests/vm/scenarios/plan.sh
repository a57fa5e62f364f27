# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protheap-bind --plan prints the planned actions and performs none

load_tee
load_protheap
protheap-bind --plan >/run/plan.json
check 'the plan is to try the heap of the policy' is "$(protheap-guest get /run/plan.json "/decision/gpus/$GPU/plan/try/heap")" protected,secure-video
check '--plan makes no binding' absent "$CONFIG/$GPU"
check '--plan allocates no buffer' is "$(buffers)" 0
check '--plan writes no state' absent /run/protheap
run_binder --root /
check 'the binder refuses --root without --plan' is "$BINDER_STATUS" 2
