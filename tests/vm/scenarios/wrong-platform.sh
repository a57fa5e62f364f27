# SPDX-License-Identifier: MIT OR Apache-2.0
# about: no policy for the board, and two protected heaps: nothing is guessed

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
only_default_policy
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'only the default applies' is "$(state_of /policies)" '["default"]'
check 'it does not decide' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'unprotected no-policy'
check 'it says between which heaps' is "$(state_of /gpus/0/considered/0/detail)" 'protected,secure-video protected,trusted-ui'
check 'nothing is allocated' is "$(buffers)" 0
load_gpu
check 'the GPU probes' gpu_probed

need modprobe -r csfgpu
need rmmod simtee
no_policies
run_binder
check 'without any policy nothing is bound either' is "$(state_of /gpus/0/reason)" no-policy
