# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU that probed before the binder started gets a late binding
# source: kernel, handed

load_tee
load_protheap
load_gpu
check 'the GPU has probed without protected memory' is "$(gpu bound)" 0
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'the binder finds that the GPU has probed' at_least "$(step_us already-probed)" 1
check 'the binder does not hold the GPU' is "$(state_of /gpus/0/held_us)" 0
check 'the GPU driver is notified of the late binding' wait_until 2 holds "/sys/kernel/debug/csfgpu/$GPU/late_bounds" 1
check 'the GPU driver uses the binding' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'the GPU driver has the firmware buffer' is "$(gpu firmware_bytes)" 262144
