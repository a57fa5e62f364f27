# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU probed before the binder came: the binding reaches its driver late
# source: kernel, handed

load_tee
load_protheap
load_gpu
check 'the GPU has probed without protected memory' is "$(gpu bound)" 0
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'it saw that the GPU had probed' at_least "$(step_us already-probed)" 1
check 'and held nothing' is "$(state_of /gpus/0/held_us)" 0
check 'the driver is told of the late binding' wait_until 2 holds "/sys/kernel/debug/csfgpu/$GPU/late_bounds" 1
check 'and takes its buffers' wait_until 2 holds "$CONFIG/$GPU/state" in-use
check 'the firmware buffer is its' is "$(gpu firmware_bytes)" 262144
