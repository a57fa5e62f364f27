# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a kernel without protheap.ko, no GPU is held, and state.json reports why
# without: protheap

load_tee
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'state.json reports the delivery as none' is "$(state_of /delivery)" none
check 'state.json reports state unprotected and reason no-consumer' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-consumer'
check 'state.json names the policy nevertheless' is "$(state_of /policies/0)" rockchip,rk3588
check 'media stacks still find the heap by its usage' exists /run/protheap/heaps/secure-video
load_gpu
check 'the GPU probes without protheap.ko' gpu_probed
