# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a binding never has more suspend buffers than suspend_count, also if that is reduced
# source: handed

load_tee
load_protheap
HEAP=protected,secure-video
need mkdir "$CONFIG/$GPU"
need store heap $HEAP
need store suspend_bytes_wanted 65536
need store suspend_count 3
need hand_over firmware $HEAP 262144
need hand_over suspend $HEAP 65536 --count 3
need store suspend_count 1
check 'the kernel accepts the commit' store commit bind
check 'the binding has at most suspend_count suspend buffers' is "$(attr suspend_free)" 1
check 'the kernel frees the other suspend buffers' wait_until 2 is_count 2 buffers
check 'the kernel requests no suspend buffer' is "$(attr suspend_wanted)" 0
load_gpu
check 'one group gets a suspend buffer' create_group
check 'a second group gets no suspend buffer' fails_with ENOBUFS create_group
