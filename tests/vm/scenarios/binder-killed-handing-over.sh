# SPDX-License-Identifier: MIT OR Apache-2.0
# about: after a binder was killed between handing buffers over and committing, the next one resumes its hold and binds
# source: handed

load_tee size=2097152
load_protheap
need mkdir "$CONFIG/$GPU"
need store heap protected,secure-video
need store suspend_bytes_wanted 65536
need store suspend_count 16
need store hold_ms 5000
need hand_over firmware protected,secure-video 262144
need hand_over suspend protected,secure-video 65536 --count 16
load_gpu
run_binder
check 'the next binder binds a heap whose memory suffices for one set of buffers' is "$BINDER_STATUS" 0
check 'the next binder has a hold' at_least "$(step_us hold-started)" 1
check 'the GPU uses its buffers' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'no buffer of the first binder is left' is "$(buffers)" 17
