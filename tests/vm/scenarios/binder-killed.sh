# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the binder is killed inside the window: another run resumes it, and without one it ends by itself
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
need wait_until 2 step_us window-opened
opened=$(step_us window-opened)
need kill -9 "$BINDER"
end_binder
check 'the window is still open' is "$(attr state)" held
run_binder
check 'the next run binds' is "$BINDER_STATUS" 0
check 'the GPU probes with its buffers' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'within the window of the first run' at_most "$(($(step_us bound) - opened))" 3000000

need modprobe -r csfgpu
need rmdir "$CONFIG/$GPU"
need rmmod simtee protheap
load_protheap
load_tee delay_ms=-1
start_binder
load_gpu
need wait_until 2 step_us window-opened
opened=$(step_us window-opened)
need kill -9 "$BINDER"
end_binder
check 'with nobody left, the GPU probes all the same' wait_until 5 gpu_probed
check 'when the window has ended' at_most "$(($(gpu probed_at_us) - opened))" 3300000
check 'not before' at_least "$(($(gpu probed_at_us) - opened))" 2900000
need rmmod simtee
load_tee
run_binder
check 'a later run still reaches the driver' wait_until 2 holds "$CONFIG/$GPU/state" in-use
