# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the probe of the TEE never ends: the GPU probes when its hold times out

load_protheap
load_tee delay_ms=-1
start_binder
load_gpu
check 'the GPU is held' is "$(attr state)" held
end_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports state unprotected and reason heap-late' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected heap-late'
check 'the GPU is held until the hold timeout' at_least "$(state_of /gpus/0/held_us)" 4900000
check 'the GPU is held no longer than the hold timeout' at_most "$(state_of /gpus/0/held_us)" 5100000
check 'the GPU probes' wait_until 2 gpu_probed
check 'the GPU driver has no protected buffer' is "$(gpu bound)" 0
check 'the kernel reports heap-late' is "$(attr reason)" heap-late
