# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a kernel without protheap.ko: nothing is held, and the state says so
# without: protheap

load_tee
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'there is no delivery' is "$(state_of /delivery)" none
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-consumer'
check 'the policy is told all the same' is "$(state_of /policies/0)" rockchip,rk3588
check 'media stacks still find their heap' exists /run/protheap/heaps/secure-video
load_gpu
check 'the GPU probes as it always did' gpu_probed
