# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a group that finds no free suspend buffer waits for one for at most 100 ms
# source: kernel, handed
# smp: 2

load_tee
load_protheap
make_binding protected,secure-video 65536 1
load_gpu
need create_group
from=$(now_ms)
check 'a group gets no suspend buffer when none is free' fails_with ENOBUFS create_group
took=$(($(now_ms) - from))
check 'the group waits at least 100 ms' at_least $took 100
check 'the group waits at most 1000 ms' at_most $took 1000
check 'the module counts the wait' is "$(counter suspend-waits) $(counter suspend-exhausted)" '1 1'
check 'the module logs the shortage once, with the driver that holds the buffers' is "$(fails_with ENOBUFS create_group; dmesg | grep -c 'failed to provide a suspend buffer: driver csfgpu holds 1 of 1; .* (now 1)')" 1
# The group of another open file is destroyed, since the file of this one waits.
need keep_group
(sleep 0.04; destroy_kept) &
check 'a group gets a buffer that is released while it waits' create_group
wait
