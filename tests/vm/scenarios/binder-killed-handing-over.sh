# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a run that was killed between handing buffers over and committing leaves nothing in the way
# source: handed

load_tee size=2097152
load_protheap
need mkdir "$CONFIG/$GPU"
need store heap protected,secure-video
need store suspend_bytes 65536
need store suspend_count 16
need store hold_ms 5000
need hand_over firmware protected,secure-video 262144
need hand_over suspend protected,secure-video 65536 --count 16
load_gpu
run_binder
check 'the next run binds from a heap that holds the buffers once only' is "$BINDER_STATUS" 0
check 'within the same window' at_least "$(step_us window-opened)" 1
check 'the GPU has its buffers' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'no buffer of the first run is left' is "$(buffers)" 17
