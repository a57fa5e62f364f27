# SPDX-License-Identifier: MIT OR Apache-2.0
# about: without a policy for the board, the binder selects none of two protected heaps

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
only_default_policy
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'the binder applies only the default policy' is "$(state_of /policies)" '["default"]'
check 'the binder reports state unprotected and reason no-policy' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-policy'
check 'the candidate has the names of both heaps' is "$(state_of /gpus/0/considered/0/detail)" 'protected,secure-video protected,trusted-ui'
check 'the binder allocates nothing' is "$(buffers)" 0
load_gpu
check 'the GPU probes' gpu_probed

need modprobe -r csfgpu
need rmmod simtee
no_policies
run_binder
check 'without any policy, the binder reports no-policy' is "$(state_of /gpus/0/reason)" no-policy
