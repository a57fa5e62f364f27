# SPDX-License-Identifier: MIT OR Apache-2.0
# about: in an initrd without systemd, the binder with --detach returns once GPUs are held, and binds in the background

load_protheap
load_tee delay_ms=1000
run_binder --detach
check 'the binder with --detach exits with status 0' is "$BINDER_STATUS" 0
check 'the GPU is held when the binder has returned' is "$(attr state)" held
load_gpu
check 'the GPU does not probe while it is held' has_no_driver
check 'the binder binds the heap in the background' wait_until 5 holds "$CONFIG/$GPU/state" in-use

need modprobe -r csfgpu
run_binder --detach
check 'the binder with --detach exits with status 0 when it does not have to wait' is "$BINDER_STATUS" 0
