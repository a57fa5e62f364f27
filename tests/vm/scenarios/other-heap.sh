# SPDX-License-Identifier: MIT OR Apache-2.0
# about: once the GPU's driver has let go, the GPU is bound to another heap
# source: kernel, handed

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
make_binding protected,secure-video 65536 2
load_gpu
first=$(gpu firmware_dma)
check 'under its driver the heap does not change' fails_with EBUSY store heap protected,trusted-ui
need unbind_gpu
check 'nor while it is only bound' fails_with EBUSY store heap protected,trusted-ui
need rmdir "$CONFIG/$GPU"
make_binding protected,trusted-ui 65536 2
need bind_gpu
check 'the GPU is bound' is "$(attr state) $(attr heap)" 'in-use protected,trusted-ui'
check 'to other memory' differs "$(gpu firmware_dma)" "$first"
check 'and nothing of the first is kept' wait_until 2 is_count $((262144 + 2 * 65536)) given_out
