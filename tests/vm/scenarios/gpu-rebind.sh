# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the GPU's driver goes and comes back: it gets the same firmware buffer, and nothing is allocated anew
# source: kernel, handed
# tee: sim, static, dynamic-8m

load_tee
load_protheap
make_binding protected,secure-video 65536 3
load_gpu
firmware=$(gpu firmware_dma)
check 'the GPU is bound' is "$(attr state)" in-use
need create_group
need create_group
all=$(given_out)
for round in 1 2 3; do
	need unbind_gpu
	check "unbound, $round: the binding stays, with nothing in use" is "$(attr state) $(attr suspend_in_use)" 'bound 0'
	check "unbound, $round: so do the buffers" is "$(given_out)" "$all"
	need bind_gpu
	check "bound again, $round: to the same firmware buffer" is "$(gpu firmware_dma)" "$firmware"
	check "bound again, $round: groups are suspended as before" create_group
done
check 'no buffer was allocated for that' is "$(given_out)" "$all"
check 'the peak is remembered' is "$(counter suspend-peak)" 2
