# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a second heap of the same name is refused before its device is created, and the first one is unaffected

load_tee
check 'a second heap of the same name is refused with EINVAL' like "$(modprobe simheap name=protected,secure-video 2>&1)" '*Invalid argument*'
check 'the kernel logs the name' like "$(kernel_log 'Already registered heap named')" '*protected,secure-video*'
check 'the kernel does not try to create a second device' empty kernel_log 'cannot create duplicate filename'
check 'the first heap allocates buffers' protheap-guest alloc protected,secure-video 4096
check 'a heap of another name can be added' modprobe simheap
check 'the heap of another name exists' exists "$(heap simheap)"
