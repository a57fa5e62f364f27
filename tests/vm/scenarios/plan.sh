# SPDX-License-Identifier: MIT OR Apache-2.0
# about: --plan says what would be done, and does nothing

load_tee
load_protheap
protheap-bind --plan >/run/plan.json
check 'it plans to try the heap' is "$(protheap-guest get /run/plan.json "/decision/gpus/$GPU/plan/try/heap")" protected,secure-video
check 'it opens no binding' absent "$CONFIG/$GPU"
check 'it allocates nothing' is "$(buffers)" 0
check 'it writes no state' absent /run/protheap
run_binder --root /
check 'what would bind another machine is refused' is "$BINDER_STATUS" 2
