# SPDX-License-Identifier: MIT OR Apache-2.0
# about: when the binder is killed during a hold, the next one resumes the hold, and without one the hold times out
# source: kernel, handed

policy radxa,rock-5b <<'END'
schema = 1
[gpu."arm,mali-valhall-csf"]
hold = "3s"
END
load_protheap
load_tee delay_ms=1500
start_binder
load_gpu
need wait_until 2 step_us hold-started
opened=$(step_us hold-started)
need kill -9 "$BINDER"
end_binder
check 'the GPU is still held after the binder was killed' is "$(attr state)" held
run_binder
check 'the next binder exits with status 0' is "$BINDER_STATUS" 0
check 'the GPU probes with its protected buffers' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'the next binder binds within the hold of the first one' at_most "$(($(step_us bound) - opened))" 3000000

need modprobe -r csfgpu
need rmdir "$CONFIG/$GPU"
need rmmod simtee protheap
load_protheap
load_tee delay_ms=-1
start_binder
load_gpu
need wait_until 2 step_us hold-started
opened=$(step_us hold-started)
need kill -9 "$BINDER"
end_binder
check 'without another binder, the GPU probes' wait_until 5 gpu_probed
check 'the GPU probes at the latest when the hold has timed out' at_most "$(($(gpu probed_at_us) - opened))" 3300000
check 'the GPU does not probe before the hold has timed out' at_least "$(($(gpu probed_at_us) - opened))" 2900000
need rmmod simtee
load_tee
run_binder
check 'a binder after the hold binds the heap, and the driver uses it' wait_until 2 holds "$CONFIG/$GPU/state" in-use
