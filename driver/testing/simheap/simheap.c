// SPDX-License-Identifier: GPL-2.0
/*
 * A faulty dma-buf heap. The parameter `fault` selects the fault. Its buffers have no memory: devices can map them, but
 * must not access them. The module belongs to no device, and its initialization can be slow or fail. For tests only.
 */
#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/string.h>

enum fault {
	FAULT_NONE,
	FAULT_SHORT,
	FAULT_SAME,
	FAULT_MAPPABLE,
	FAULT_EXPORTER,
	FAULT_ENOSPC,
	FAULT_UNMAPPED,
};

static const char * const fault_names[] = {
	[FAULT_NONE] = "none",		/* no fault */
	[FAULT_SHORT] = "short",	/* one page less than requested */
	[FAULT_SAME] = "same",		/* the first buffer since this fault was set, each time */
	[FAULT_MAPPABLE] = "mappable",	/* a buffer that supports mmap() */
	[FAULT_EXPORTER] = "exporter",	/* a buffer of another exporter */
	[FAULT_ENOSPC] = "enospc",	/* out of memory, but with another error code */
	[FAULT_UNMAPPED] = "unmapped",	/* a buffer that no device can map */
};

static DEFINE_MUTEX(lock);
static enum fault fault;
static unsigned int allocations;
static struct dma_buf *same;

static struct sg_table *map(struct dma_buf_attachment *attachment, enum dma_data_direction direction)
{
	struct sg_table *table;
	int ret;

	if (attachment->dmabuf->priv == &fault_names[FAULT_UNMAPPED])
		return ERR_PTR(-EIO);
	table = kzalloc_obj(*table);
	if (!table)
		return ERR_PTR(-ENOMEM);
	ret = sg_alloc_table(table, 1, GFP_KERNEL);
	if (ret) {
		kfree(table);
		return ERR_PTR(ret);
	}
	sg_set_page(table->sgl, ZERO_PAGE(0), PAGE_SIZE, 0);
	sg_dma_address(table->sgl) = 0x90000000;
	sg_dma_len(table->sgl) = attachment->dmabuf->size;
	return table;
}

static void unmap(struct dma_buf_attachment *attachment, struct sg_table *table, enum dma_data_direction direction)
{
	sg_free_table(table);
	kfree(table);
}

static int refuse_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	return -ENXIO;
}

static void release(struct dma_buf *dmabuf)
{
}

static const struct dma_buf_ops ops = {
	.map_dma_buf = map,
	.unmap_dma_buf = unmap,
	.release = release,
};

static const struct dma_buf_ops mappable_ops = {
	.map_dma_buf = map,
	.unmap_dma_buf = unmap,
	.mmap = refuse_mmap,
	.release = release,
};

static struct dma_buf *allocate(struct dma_heap *heap, unsigned long len, u32 fd_flags, u64 heap_flags)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;

	guard(mutex)(&lock);
	allocations++;
	if (fault == FAULT_ENOSPC)
		return ERR_PTR(-ENOSPC);
	if (fault == FAULT_SAME && same) {
		get_dma_buf(same);
		return same;
	}
	info.exp_name = fault == FAULT_EXPORTER ? "another" : "simheap";
	info.ops = fault == FAULT_MAPPABLE ? &mappable_ops : &ops;
	info.size = fault == FAULT_SHORT ? len - PAGE_SIZE : len;
	info.flags = fd_flags;
	info.priv = (void *)&fault_names[fault];
	dmabuf = dma_buf_export(&info);
	if (fault == FAULT_SAME && !IS_ERR(dmabuf)) {
		same = dmabuf;
		get_dma_buf(same);
	}
	return dmabuf;
}

static const struct dma_heap_ops heap_ops = {
	.allocate = allocate,
};

static int fault_set(const char *value, const struct kernel_param *param)
{
	int wanted = sysfs_match_string(fault_names, value);
	struct dma_buf *old;

	if (wanted < 0)
		return wanted;
	scoped_guard(mutex, &lock) {
		fault = wanted;
		old = same;
		same = NULL;
	}
	if (old)
		dma_buf_put(old);
	return 0;
}

static int fault_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%s\n", fault_names[fault]);
}

static const struct kernel_param_ops fault_ops = {
	.set = fault_set,
	.get = fault_get,
};
module_param_cb(fault, &fault_ops, NULL, 0644);
MODULE_PARM_DESC(fault, "Fault: none, short, same, mappable, exporter, enospc, unmapped");

module_param(allocations, uint, 0444);
MODULE_PARM_DESC(allocations, "Number of allocations that were requested");

static char *name = "simheap";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "Name of the heap");

static unsigned int delay_ms;
module_param(delay_ms, uint, 0444);
MODULE_PARM_DESC(delay_ms, "Time that the initialization sleeps before it registers the heap, in ms");

static int fail;
module_param(fail, int, 0444);
MODULE_PARM_DESC(fail, "Error that the initialization returns after its sleep, such as -22; 0: none");

static int __init simheap_init(void)
{
	struct dma_heap_export_info info = {
		.name = name,
		.ops = &heap_ops,
		.owner = THIS_MODULE,
	};

	if (delay_ms)
		msleep(delay_ms);
	if (fail)
		return fail;
	/* A heap cannot be removed, so this module cannot be unloaded. */
	return PTR_ERR_OR_ZERO(dma_heap_add(&info));
}
module_init(simheap_init);

MODULE_IMPORT_NS("DMA_BUF");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
MODULE_DESCRIPTION("Faulty dma-buf heap, for tests");
MODULE_LICENSE("GPL");
