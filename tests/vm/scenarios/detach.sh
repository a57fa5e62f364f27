# SPDX-License-Identifier: MIT OR Apache-2.0
# about: an initrd without systemd: --detach returns when the windows are open, and the binding is made behind its back

load_protheap
load_tee delay_ms=1000
run_binder --detach
check 'it returns well' is "$BINDER_STATUS" 0
check 'with the window open' is "$(attr state)" held
load_gpu
check 'the GPU does not probe while it is held' has_no_driver
check 'the binding is made' wait_until 5 holds "$CONFIG/$GPU/state" in-use

need modprobe -r csfgpu
run_binder --detach
check 'nothing to wait for: it returns what the binder would' is "$BINDER_STATUS" 0
