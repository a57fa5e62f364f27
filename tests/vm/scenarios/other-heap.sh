# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a GPU is bound to another heap after its driver was unbound and the binding withdrawn
# source: kernel, handed

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
make_binding protected,secure-video 65536 2
load_gpu
first=$(gpu firmware_dma)
check 'the kernel refuses another heap while the driver uses the binding' fails_with EBUSY store heap protected,trusted-ui
need unbind_gpu
check 'the kernel refuses another heap while the binding is committed' fails_with EBUSY store heap protected,trusted-ui
need rmdir "$CONFIG/$GPU"
make_binding protected,trusted-ui 65536 2
need bind_gpu
check 'the GPU uses the other heap' is "$(attr state) $(attr heap)" 'in-use protected,trusted-ui'
check 'the firmware buffer has other memory' differs "$(gpu firmware_dma)" "$first"
check 'no buffer of the first heap is left' wait_until 2 is_count $((262144 + 2 * 65536)) given_out
