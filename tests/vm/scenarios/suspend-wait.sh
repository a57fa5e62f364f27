# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a group that finds no suspend buffer free waits for one, for at most 100 ms
# source: kernel, handed
# smp: 2

load_tee
load_protheap
make_binding protected,secure-video 65536 1
load_gpu
need create_group
from=$(now_ms)
check 'none is free' fails_with ENOBUFS create_group
took=$(($(now_ms) - from))
check 'it waited for one' at_least $took 100
check 'not for long' at_most $took 1000
check 'the wait is counted' is "$(counter suspend-waits) $(counter suspend-exhausted)" '1 1'
check 'it is logged once, with the driver that has them' is "$(fails_with ENOBUFS create_group; dmesg | grep -c 'failed to provide a suspend buffer: driver csfgpu holds 1 of 1; .* (now 1)')" 1
# That of another open file, since this one's waits.
need keep_group
(sleep 0.04; destroy_kept) &
check 'one that comes back meanwhile is taken' create_group
wait
