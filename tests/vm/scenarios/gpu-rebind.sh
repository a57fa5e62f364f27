# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU driver that is unbound and bound again gets the same firmware buffer, and nothing is allocated
# linux: 7.2, 7.3
# source: kernel, handed
# tee: sim, static, dynamic-8m

load_tee
load_protheap
make_binding protected,secure-video 65536 3
load_gpu
firmware=$(gpu firmware_dma)
check 'the GPU uses its binding' is "$(attr state)" in-use
need create_group
need create_group
all=$(given_out)
for round in 1 2 3; do
	need unbind_gpu
	check "unbound, $round: the binding remains, with no buffer in use" is "$(attr state) $(attr suspend_in_use)" 'bound 0'
	check "unbound, $round: the buffers remain allocated" is "$(given_out)" "$all"
	need bind_gpu
	check "bound again, $round: the driver gets the same firmware buffer" is "$(gpu firmware_dma)" "$firmware"
	check "bound again, $round: a group gets a suspend buffer" create_group
done
check 'no buffer was allocated for the new driver' is "$(given_out)" "$all"
check 'the module counts at most two suspend buffers in use' is "$(counter suspend-peak)" 2
