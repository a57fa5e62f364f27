# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a binding never has more suspend buffers than suspend_count says, also if that is lowered
# source: handed

load_tee
load_protheap
HEAP=protected,secure-video
need mkdir "$CONFIG/$GPU"
need store heap $HEAP
need store suspend_bytes 65536
need store suspend_count 3
need hand_over firmware $HEAP 262144
need hand_over suspend $HEAP 65536 --count 3
need store suspend_count 1
check 'commit is accepted' store commit bind
check 'what is beyond the ceiling is let go' is "$(attr suspend_free)" 1
check 'by the kernel as well' wait_until 2 is_count 2 buffers
check 'none is wanted' is "$(attr suspend_wanted)" 0
load_gpu
check 'one group gets a buffer' create_group
check 'a second does not' fails_with ENOBUFS create_group
