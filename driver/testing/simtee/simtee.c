// SPDX-License-Identifier: GPL-2.0
/*
 * A simulated trusted execution environment: it binds to the board's OP-TEE node and registers a TEE device with the
 * protected heaps of the kernel (drivers/tee/tee_heap.c), over a reserved carve-out. For tests only.
 *
 * As in OP-TEE's driver, the heaps are registered before the TEE device.
 */
#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/platform_device.h>
#include <linux/reboot.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/tee_core.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

static char *heaps = "protected,secure-video";
module_param(heaps, charp, 0444);
MODULE_PARM_DESC(heaps, "Names of the heaps, separated by ';'; empty: a TEE without heaps");

static ulong size;
module_param(size, ulong, 0444);
MODULE_PARM_DESC(size, "Size of each heap in bytes; 0: an equal share of the carve-out");

static int delay_ms;
module_param(delay_ms, int, 0444);
MODULE_PARM_DESC(delay_ms, "Time that the probe sleeps before it registers anything, in ms; -1: forever");

static int fail;
module_param(fail, int, 0644);
MODULE_PARM_DESC(fail, "Error that the probe returns after its sleep, such as -22 or -517 (EPROBE_DEFER); 0: none");

static bool ordinary;
module_param(ordinary, bool, 0444);
MODULE_PARM_DESC(ordinary, "Allocate the heaps from ordinary memory");

static char *revision = "4.6";
module_param(revision, charp, 0444);
MODULE_PARM_DESC(revision, "Revision of the TEE that the driver reports");

static const struct {
	const char *name;
	enum tee_dma_heap_id id;
} known_heaps[] = {
	{ "protected,secure-video", TEE_DMA_HEAP_SECURE_VIDEO_PLAY },
	{ "protected,trusted-ui", TEE_DMA_HEAP_TRUSTED_UI },
	{ "protected,secure-video-record", TEE_DMA_HEAP_SECURE_VIDEO_RECORD },
};

/* The TEE, after a successful probe. */
static DEFINE_MUTEX(lock);
static struct tee_device *tee;
static struct tee_shm_pool *shm_pool;

/* Ends the sleep of the probe: the module is unloaded, or the machine shuts down. */
static DECLARE_WAIT_QUEUE_HEAD(leave);
static bool leaving;

static void get_version(struct tee_device *teedev, struct tee_ioctl_version_data *version)
{
	*version = (struct tee_ioctl_version_data) {
		.impl_id = TEE_IMPL_ID_OPTEE,
		.impl_caps = TEE_OPTEE_CAP_TZ,
		.gen_caps = TEE_GEN_CAP_GP,
	};
}

static int get_revision(struct tee_device *teedev, char *buf, size_t len)
{
	strscpy(buf, revision, len);
	return 0;
}

static int open(struct tee_context *ctx)
{
	return 0;
}

static void release(struct tee_context *ctx)
{
}

static const struct tee_driver_ops tee_ops = {
	.get_version = get_version,
	.get_tee_revision = get_revision,
	.open = open,
	.release = release,
};

static const struct tee_desc tee_desc = {
	.name = "simtee",
	.ops = &tee_ops,
	.owner = THIS_MODULE,
};

/* The TEE core requires a pool for shared memory. Nothing is ever allocated from it. */
static int shm_alloc(struct tee_shm_pool *pool, struct tee_shm *shm, size_t size, size_t align)
{
	return -ENOMEM;
}

static void shm_free(struct tee_shm_pool *pool, struct tee_shm *shm)
{
}

static void shm_destroy(struct tee_shm_pool *pool)
{
	kfree(pool);
}

static const struct tee_shm_pool_ops shm_ops = {
	.alloc = shm_alloc,
	.free = shm_free,
	.destroy_pool = shm_destroy,
};

/* Pool of a heap that counts the allocated bytes, as a TEE does. */
struct counting_pool {
	struct tee_protmem_pool pool;
	struct tee_protmem_pool *inner;
};

static atomic_long_t given_out;

static struct tee_protmem_pool *inner_pool(struct tee_protmem_pool *pool)
{
	return container_of(pool, struct counting_pool, pool)->inner;
}

static int counting_alloc(struct tee_protmem_pool *pool, struct sg_table *sgt, size_t bytes, size_t *offset)
{
	struct tee_protmem_pool *inner = inner_pool(pool);
	int ret = inner->ops->alloc(inner, sgt, bytes, offset);

	if (!ret)
		atomic_long_add(bytes, &given_out);
	return ret;
}

static void counting_free(struct tee_protmem_pool *pool, struct sg_table *sgt)
{
	struct tee_protmem_pool *inner = inner_pool(pool);
	struct scatterlist *sg;
	int i;

	for_each_sgtable_sg(sgt, sg, i)
		atomic_long_sub(sg->length, &given_out);
	inner->ops->free(inner, sgt);
}

static int counting_update_shm(struct tee_protmem_pool *pool, struct sg_table *sgt, size_t offset,
			       struct tee_shm *shm, struct tee_shm **parent)
{
	struct tee_protmem_pool *inner = inner_pool(pool);

	return inner->ops->update_shm(inner, sgt, offset, shm, parent);
}

static void counting_destroy(struct tee_protmem_pool *pool)
{
	struct tee_protmem_pool *inner = inner_pool(pool);

	inner->ops->destroy_pool(inner);
	kfree(container_of(pool, struct counting_pool, pool));
}

static const struct tee_protmem_pool_ops counting_ops = {
	.alloc = counting_alloc,
	.free = counting_free,
	.update_shm = counting_update_shm,
	.destroy_pool = counting_destroy,
};

static struct tee_protmem_pool *make_pool(phys_addr_t base, size_t bytes)
{
	struct counting_pool *counting = kzalloc_obj(*counting);

	if (!counting)
		return ERR_PTR(-ENOMEM);
	counting->pool.ops = &counting_ops;
	counting->inner = tee_protmem_static_pool_alloc(base, bytes);
	if (IS_ERR(counting->inner)) {
		struct tee_protmem_pool *error = counting->inner;

		kfree(counting);
		return error;
	}
	return &counting->pool;
}

#define ORDINARY_BYTES	SZ_4M

/* Memory of the heaps if there is no carve-out. */
static struct page *ordinary_pages;

static int find_carveout(struct resource *res)
{
	struct device_node *node;
	int ret;

	if (ordinary) {
		if (!ordinary_pages)
			ordinary_pages = alloc_pages(GFP_KERNEL, get_order(ORDINARY_BYTES));
		if (!ordinary_pages)
			return -ENOMEM;
		*res = DEFINE_RES_MEM(page_to_phys(ordinary_pages), ORDINARY_BYTES);
		return 0;
	}
	node = of_find_compatible_node(NULL, NULL, "protheap,test-carveout");
	if (!node)
		return -ENODEV;
	ret = of_address_to_resource(node, 0, res);
	of_node_put(node);
	return ret;
}

static int heap_id(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(known_heaps); i++)
		if (!strcmp(known_heaps[i].name, name))
			return known_heaps[i].id;
	return -EINVAL;
}

static int add_heap(const char *name, phys_addr_t base, size_t bytes)
{
	struct tee_protmem_pool *pool;
	int id, ret;

	id = heap_id(name);
	if (id < 0)
		return id;
	pool = make_pool(base, bytes);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	ret = tee_device_register_dma_heap(tee, id, pool);
	if (ret)
		pool->ops->destroy_pool(pool);
	return ret;
}

static int add_heaps(void)
{
	struct resource carveout;
	phys_addr_t base, end;
	size_t bytes, count = 1;
	char *names, *next, *name;
	int ret;

	if (!*heaps)
		return 0;
	ret = find_carveout(&carveout);
	if (ret) {
		pr_err("simtee: no carve-out in the device tree\n");
		return ret;
	}
	names = kstrdup(heaps, GFP_KERNEL);
	if (!names)
		return -ENOMEM;
	for (next = names; *next; next++)
		count += *next == ';';

	base = carveout.start;
	end = carveout.end + 1;
	bytes = size ?: ALIGN_DOWN(resource_size(&carveout) / count, PAGE_SIZE);
	next = names;
	while (!ret && (name = strsep(&next, ";"))) {
		ret = bytes > end - base ? -ENOSPC : add_heap(name, base, bytes);
		if (ret)
			pr_err("simtee: failed to add heap %s of %zu bytes: %d\n", name, bytes, ret);
		base += bytes;
	}
	kfree(names);
	return ret;
}

static void drop_tee(void)
{
	mutex_lock(&lock);
	if (tee) {
		/* Waits until the last buffer of its heaps has been freed. */
		tee_device_unregister(tee);
		tee_shm_pool_free(shm_pool);
		tee = NULL;
	}
	mutex_unlock(&lock);
}

static int add_tee(void)
{
	int ret = 0;

	mutex_lock(&lock);
	if (tee)
		goto unlock;

	shm_pool = kzalloc_obj(*shm_pool);
	if (!shm_pool) {
		ret = -ENOMEM;
		goto unlock;
	}
	shm_pool->ops = &shm_ops;
	tee = tee_device_alloc(&tee_desc, NULL, shm_pool, NULL);
	if (IS_ERR(tee)) {
		ret = PTR_ERR(tee);
		tee = NULL;
		tee_shm_pool_free(shm_pool);
		goto unlock;
	}
	ret = add_heaps();
	if (!ret)
		ret = tee_device_register(tee);
	if (ret) {
		tee_device_unregister(tee);
		tee_shm_pool_free(shm_pool);
		tee = NULL;
	}
unlock:
	mutex_unlock(&lock);
	return ret;
}

/* Drop and restore the TEE in the background: the writer does not wait. */
static void run_drop(struct work_struct *work)
{
	drop_tee();
}

static void run_restore(struct work_struct *work)
{
	int ret = add_tee();

	if (ret)
		pr_err("simtee: failed to restore the TEE: %d\n", ret);
}

static DECLARE_WORK(drop_work, run_drop);
static DECLARE_WORK(restore_work, run_restore);

static int drop_set(void *data, u64 value)
{
	queue_work(system_dfl_wq, &drop_work);
	return 0;
}

static int restore_set(void *data, u64 value)
{
	queue_work(system_dfl_wq, &restore_work);
	return 0;
}

static int given_out_get(void *data, u64 *value)
{
	*value = atomic_long_read(&given_out);
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(given_out_fops, given_out_get, NULL, "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(drop_fops, NULL, drop_set, "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(restore_fops, NULL, restore_set, "%llu\n");

static struct dentry *debugfs;

static int simtee_probe(struct platform_device *pdev)
{
	int ret;

	if (delay_ms < 0)
		wait_event_idle(leave, READ_ONCE(leaving));
	else if (delay_ms)
		wait_event_idle_timeout(leave, READ_ONCE(leaving), msecs_to_jiffies(delay_ms) + 1);
	if (READ_ONCE(leaving))
		return -ENODEV;
	if (fail) {
		if (fail != -EPROBE_DEFER)
			pr_err("simtee: the probe is to fail\n");
		return fail;
	}

	ret = add_tee();
	if (ret)
		return ret;
	debugfs = debugfs_create_dir("simtee", NULL);
	debugfs_create_file_unsafe("given_out", 0400, debugfs, NULL, &given_out_fops);
	debugfs_create_file_unsafe("drop", 0200, debugfs, NULL, &drop_fops);
	debugfs_create_file_unsafe("restore", 0200, debugfs, NULL, &restore_fops);
	return 0;
}

static void simtee_remove(struct platform_device *pdev)
{
	debugfs_remove(debugfs);
	flush_work(&restore_work);
	flush_work(&drop_work);
	drop_tee();
}

/* After this the memory belongs to the next kernel, which does not know these buffers. */
static void simtee_shutdown(struct platform_device *pdev)
{
	pr_info("simtee: shut down with %ld bytes given out\n", atomic_long_read(&given_out));
}

static const struct of_device_id simtee_match[] = {
	{ .compatible = "linaro,optee-tz" },
	{ }
};
MODULE_DEVICE_TABLE(of, simtee_match);

static struct platform_driver simtee_driver = {
	.probe = simtee_probe,
	.remove = simtee_remove,
	.shutdown = simtee_shutdown,
	.driver = {
		.name = "simtee",
		.of_match_table = simtee_match,
	},
};

static int register_result;

static void run_register(struct work_struct *work)
{
	register_result = platform_driver_register(&simtee_driver);
}

static DECLARE_WORK(register_work, run_register);

static void end_sleep(void)
{
	WRITE_ONCE(leaving, true);
	wake_up_all(&leave);
}

/* End the sleep, because a shutdown waits for running probes. */
static int on_reboot(struct notifier_block *nb, unsigned long action, void *data)
{
	end_sleep();
	return NOTIFY_DONE;
}

static struct notifier_block reboot_nb = {
	.notifier_call = on_reboot,
};

static int __init simtee_init(void)
{
	int ret = register_reboot_notifier(&reboot_nb);

	if (ret)
		return ret;
	/*
	 * A sleeping probe must not block insmod. PROBE_PREFER_ASYNCHRONOUS would not help: each insmod waits for all
	 * asynchronous probes before it returns.
	 */
	queue_work(system_dfl_wq, &register_work);
	if (!delay_ms) {
		flush_work(&register_work);
		if (register_result)
			unregister_reboot_notifier(&reboot_nb);
		return register_result;
	}
	return 0;
}

static void __exit simtee_exit(void)
{
	end_sleep();
	flush_work(&register_work);
	if (!register_result)
		platform_driver_unregister(&simtee_driver);
	unregister_reboot_notifier(&reboot_nb);
	if (ordinary_pages)
		__free_pages(ordinary_pages, get_order(ORDINARY_BYTES));
}

module_init(simtee_init);
module_exit(simtee_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Simulated TEE with protected heaps, for tests");
