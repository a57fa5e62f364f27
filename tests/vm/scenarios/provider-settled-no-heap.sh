# SPDX-License-Identifier: MIT OR Apache-2.0
# about: when the TEE probes without a heap, the hold ends at once, not at its timeout

load_protheap
loaded=$(protheap-guest now)
load_tee delay_ms=1500 heaps=
start_binder
check 'the GPU is held while the TEE is probing' is "$(attr state)" held
load_gpu
end_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports state unprotected and reason no-heap' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-heap'
released=$(($(step_us hold-started) + $(state_of /gpus/0/held_us)))
check 'the GPU is held until the TEE has probed, 1.5 s after its driver was loaded' at_least $released $((loaded + 1500000))
check 'the GPU is not held until the hold timeout' at_most "$(state_of /gpus/0/held_us)" 3500000
check 'the GPU probes' wait_until 2 gpu_probed
check 'the kernel reports the commit of none' is "$(attr state)" none

need rmdir "$CONFIG/$GPU"
run_binder
check 'the binder does not wait for a TEE that has probed before' is "$(state_of /gpus/0/held_us)" 0
check 'the binder leaves no binding for a TEE that has probed before' absent "$CONFIG/$GPU"
