// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of protheap.ko: exports of the Rust functions, and what is a macro or inline in C.
 */
#include <linux/device.h>
#include <linux/export.h>
#include <linux/security.h>

#include "glue.h"
#include "protheap.h"

EXPORT_SYMBOL_GPL(protheap_attach);
EXPORT_SYMBOL_GPL(protheap_detach);
EXPORT_SYMBOL_GPL(protheap_firmware_buffer);
EXPORT_SYMBOL_GPL(protheap_suspend_configure);
EXPORT_SYMBOL_GPL(protheap_suspend_get);
EXPORT_SYMBOL_GPL(protheap_suspend_put);

void protheap_glue_init_work(struct delayed_work *work, work_func_t run)
{
	INIT_DELAYED_WORK(work, run);
}

void protheap_glue_lock_device(struct device *dev)
{
	device_lock(dev);
}

void protheap_glue_unlock_device(struct device *dev)
{
	device_unlock(dev);
}

bool protheap_glue_locked_down(void)
{
	return security_locked_down(LOCKDOWN_MODULE_PARAMETERS) != 0;
}
