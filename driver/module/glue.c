// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of protheap.ko: exports of the Rust functions, and wrappers of C macros and inline functions.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/device.h>
#include <linux/dma-heap.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/fcntl.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/reboot.h>
#include <linux/security.h>
#include <linux/suspend.h>
#include <linux/uidgid.h>

#include "glue.h"
#include "protheap.h"

EXPORT_SYMBOL_GPL(protheap_attach);
EXPORT_SYMBOL_GPL(protheap_detach);
EXPORT_SYMBOL_GPL(protheap_firmware_buffer);
EXPORT_SYMBOL_GPL(protheap_firmware_put);
EXPORT_SYMBOL_GPL(protheap_on_demand);
EXPORT_SYMBOL_GPL(protheap_suspend_configure);
EXPORT_SYMBOL_GPL(protheap_suspend_get);
EXPORT_SYMBOL_GPL(protheap_suspend_put);

/* A lock class for each task: one is waited for with a lock held that another one takes. */
void protheap_glue_init_work(struct delayed_work *work, work_func_t run, const char *name,
			     struct lock_class_key *key)
{
	INIT_DELAYED_WORK(work, run);
	lockdep_init_map(&work->work.lockdep_map, name, key, 0);
}

void protheap_glue_lock_device(struct device *dev)
{
	device_lock(dev);
}

int protheap_glue_lock_device_interruptible(struct device *dev)
{
	return device_lock_interruptible(dev);
}

bool protheap_glue_trylock_device(struct device *dev)
{
	return device_trylock(dev);
}

void protheap_glue_unlock_device(struct device *dev)
{
	device_unlock(dev);
}

/*
 * No reason of enum lockdown_reason covers unprotected memory in place of
 * protected memory, or policies of the administrator in place of those of the
 * image. This asks for the level itself, which is what the log then names.
 */
bool protheap_glue_locked_down(void)
{
	return security_locked_down(LOCKDOWN_INTEGRITY_MAX) != 0;
}

/*
 * The attributes in configfs belong to root, and whoever can write them decides
 * about the binding: handing a buffer over requires no more. So a daemon of
 * root may drop all capabilities, and run in a user namespace that maps root to
 * itself.
 */
bool protheap_glue_may_hand_over(void)
{
	return uid_eq(current_euid(), GLOBAL_ROOT_UID) || capable(CAP_SYS_ADMIN);
}

bool protheap_glue_has_heaps(void)
{
	return IS_ENABLED(PROTHEAP_DMA_HEAP_FIND);
}

struct dma_buf *protheap_glue_allocate(const char *name, size_t bytes)
{
#if IS_ENABLED(PROTHEAP_DMA_HEAP_FIND)
	struct dma_heap *heap = dma_heap_find_by_name(name);

	if (!heap)
		return ERR_PTR(-ENODEV);
	return dma_heap_buffer_alloc(heap, bytes, O_RDWR | O_CLOEXEC, 0);
#else
	return ERR_PTR(-ENODEV);
#endif
}

static int on_reboot(struct notifier_block *nb, unsigned long action, void *data)
{
	protheap_evacuate(PROTHEAP_SHUT_DOWN);
	return NOTIFY_DONE;
}

static struct notifier_block reboot_nb = {
	.notifier_call = on_reboot,
};

static int on_sleep(struct notifier_block *nb, unsigned long action, void *data)
{
	switch (action) {
	case PM_HIBERNATION_PREPARE:
		return notifier_from_errno(protheap_evacuate(PROTHEAP_TAKE_IMAGE));
	case PM_RESTORE_PREPARE:
		protheap_evacuate(PROTHEAP_RESTORE_IMAGE);
		break;
	case PM_POST_HIBERNATION:
		protheap_repopulate(PROTHEAP_TAKE_IMAGE);
		break;
	case PM_POST_RESTORE:
		protheap_repopulate(PROTHEAP_RESTORE_IMAGE);
		break;
	}
	/* Suspend to RAM changes nothing: the memory keeps its owner. */
	return NOTIFY_DONE;
}

static struct notifier_block sleep_nb = {
	.notifier_call = on_sleep,
};

static void forget(struct work_struct *work)
{
	protheap_forget_removed();
}

/* Not done in the notifier: it waits for work that can probe a device, which calls the same notifier. */
static DECLARE_WORK(forget_work, forget);

/*
 * OP-TEE's driver waits in its remove for the last buffer of its heaps. Up to Linux 7.3 that wait does
 * not always end if the buffer is freed meanwhile, so buffers are freed before.
 */
static int on_platform_bus(struct notifier_block *nb, unsigned long action, void *data)
{
	if (action == BUS_NOTIFY_REMOVED_DEVICE && protheap_device_removed(data))
		schedule_work(&forget_work);
	if (!device_is_compatible(data, "linaro,optee-tz"))
		return NOTIFY_DONE;
	switch (action) {
	case BUS_NOTIFY_UNBIND_DRIVER:
		protheap_evacuate(PROTHEAP_TEE_LEAVES);
		break;
	case BUS_NOTIFY_UNBOUND_DRIVER:
		protheap_repopulate(PROTHEAP_TEE_LEAVES);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block platform_nb = {
	.notifier_call = on_platform_bus,
};

int protheap_glue_watch(void)
{
	int ret = register_reboot_notifier(&reboot_nb);

	if (ret)
		return ret;
	ret = register_pm_notifier(&sleep_nb);
	if (ret)
		goto err_reboot;
	ret = bus_register_notifier(&platform_bus_type, &platform_nb);
	if (ret)
		goto err_sleep;
	return 0;

err_sleep:
	unregister_pm_notifier(&sleep_nb);
err_reboot:
	unregister_reboot_notifier(&reboot_nb);
	return ret;
}

void protheap_glue_unwatch(void)
{
	bus_unregister_notifier(&platform_bus_type, &platform_nb);
	cancel_work_sync(&forget_work);
	unregister_pm_notifier(&sleep_nb);
	unregister_reboot_notifier(&reboot_nb);
}
