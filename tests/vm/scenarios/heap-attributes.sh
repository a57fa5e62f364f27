# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel describes its heaps in sysfs: which ones are contiguous, and which ones the CPU cannot access
# tee: sim, static

# properties HEAP: prints the attributes of a heap
properties() { cat "/sys/class/dma_heap/$1/contiguous" "/sys/class/dma_heap/$1/protected" | paste -s -d ' '; }

load_tee
check 'the heap of the TEE is contiguous and protected' is "$(properties protected,secure-video)" '1 1'
check 'the heap of the CMA area is contiguous and not protected' is "$(properties default_cma_region)" '1 0'
check 'the system heap is neither contiguous nor protected' is "$(properties system)" '0 0'
protheapctl list >/run/list
check 'protheapctl lists the protected heap as declared' like "$(cat /run/list)" '*protected,secure-video*declared*'
check 'protheapctl lists no other heap as declared' equal_nonzero "$(grep -c declared /run/list)" "$(grep -c '^heap  protected,' /run/list)"
