# SPDX-License-Identifier: MIT OR Apache-2.0
# about: before a reboot, every buffer returns to the TEE, including those that the GPU uses
# source: kernel, handed
# tee: sim, dynamic
# leave: reboot
# says: simtee: shut down with 0 bytes given out

load_tee
load_protheap
make_binding protected,secure-video 65536 3
load_gpu
need create_group
check 'the GPU uses its buffers' is "$(attr state) $(attr suspend_in_use)" 'in-use 1'
check 'the TEE has allocated the buffers that the GPU uses' is "$(given_out)" $((262144 + 3 * 65536))
