// SPDX-License-Identifier: GPL-2.0
/*
 * The carve-out of a real OP-TEE with a dynamic pool: memory of the kernel that the OP-TEE driver
 * lends to the secure world and reclaims. There are no events for this, so the functions of the
 * driver are probed as soon as it is loaded.
 */

#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/tee_core.h>

#include "check.h"
#include "lent.h"

struct lend {
	const struct tee_shm *memory;
};

/* The functions that are probed take the driver's state and the memory. */
static const struct tee_shm *memory_of(struct pt_regs *regs)
{
	return (const struct tee_shm *)regs_get_kernel_argument(regs, 1);
}

static int lend_begins(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct lend *lend = (struct lend *)instance->data;

	lend->memory = memory_of(regs);
	return 0;
}

static int lend_ended(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct lend *lend = (struct lend *)instance->data;

	if (!regs_return_value(regs))
		check_lent(lend->memory->paddr, lend->memory->size);
	return 0;
}

static int reclaim_begins(struct kprobe *probe, struct pt_regs *regs)
{
	check_reclaimed(memory_of(regs)->paddr);
	return 0;
}

#define LEND(function) {						\
	.kp.symbol_name = function,					\
	.entry_handler = lend_begins,					\
	.handler = lend_ended,						\
	.data_size = sizeof(struct lend),				\
	.maxactive = 4,							\
}

/* The driver has one function for SMC and one for FF-A. */
static struct kretprobe lends[] = {
	LEND("optee_smc_lend_protmem"),
	LEND("optee_ffa_lend_protmem"),
};

static struct kprobe reclaims[] = {
	{ .symbol_name = "optee_smc_reclaim_protmem", .pre_handler = reclaim_begins },
	{ .symbol_name = "optee_ffa_reclaim_protmem", .pre_handler = reclaim_begins },
};

static DEFINE_MUTEX(probing);
static bool probed;

/* The driver may not be loaded yet, or be built without one of the two. */
static void begin(void)
{
	u32 found = 0;

	guard(mutex)(&probing);
	if (probed)
		return;
	for (u32 i = 0; i < ARRAY_SIZE(lends); i++) {
		if (register_kretprobe(&lends[i]))
			continue;
		if (register_kprobe(&reclaims[i]))
			unregister_kretprobe(&lends[i]);
		else
			found |= BIT(i);
	}
	probed = found;
}

/* The kernel drops the probes of an unloaded module. Reset them, to register them again later. */
static void end(void)
{
	guard(mutex)(&probing);
	if (!probed)
		return;
	for (u32 i = 0; i < ARRAY_SIZE(lends); i++) {
		if (lends[i].kp.addr) {
			unregister_kretprobe(&lends[i]);
			unregister_kprobe(&reclaims[i]);
		}
		lends[i].kp.addr = NULL;
		lends[i].kp.flags = 0;
		reclaims[i].addr = NULL;
		reclaims[i].flags = 0;
	}
	probed = false;
}

static int module_changed(struct notifier_block *block, unsigned long state, void *data)
{
	const struct module *module = data;

	if (strcmp(module->name, "optee"))
		return NOTIFY_DONE;
	if (state == MODULE_STATE_COMING)
		begin();
	else if (state == MODULE_STATE_GOING)
		end();
	return NOTIFY_DONE;
}

static struct notifier_block modules = { .notifier_call = module_changed };

int lent_begin(void)
{
	int ret = register_module_notifier(&modules);

	/* The driver may be loaded already. */
	if (!ret)
		begin();
	return ret;
}

void lent_end(void)
{
	unregister_module_notifier(&modules);
	end();
}
