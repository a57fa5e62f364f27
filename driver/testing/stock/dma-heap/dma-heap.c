// SPDX-License-Identifier: GPL-2.0
/*
 * The dma-buf heaps of Linux, which are built-in or absent there, as a module for a kernel without them.
 */
#include <linux/module.h>

/* A copy of drivers/dma-buf/dma-heap.c of the kernel's source. */
#include "linux.c"

MODULE_DESCRIPTION("dma-buf heaps");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
