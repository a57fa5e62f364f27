// SPDX-License-Identifier: GPL-2.0
/*
 * Fault injection, by a word written to debugfs:
 *
 *   hang, unhang    stop the firmware, until it is booted again or until unhang
 *   fatal           report an unrecoverable error of the first running group, so that the driver
 *                   resets the GPU
 *   gpu-fault       report a fault of the GPU
 *   mmu-fault       report a fault in the address space of the first running group
 *   boot-fails      let the next boot fail
 *   halt-fails      ignore the next halt
 *   protm-stuck     block the streams in protected mode, now or the next time, until protected
 *                   mode is terminated by a ping or another request
 *   protm-dead      stop the firmware in protected mode until a reset
 *   protm-endless   let no protected region end, until protm-ends
 *   protm-fault     report a fault of the GPU, again and again, until protected mode ends
 *
 * Violations that the checks must detect:
 *
 *   page-twice      map a page of the firmware at two addresses
 *   cpu-write       write to the carve-out from the CPU
 */

#include <linux/debugfs.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "check.h"
#include "inject.h"
#include "interface.h"
#include "interrupt.h"
#include "mmu.h"
#include "model.h"

static int fatal(u32 slot)
{
	stream_output(slot, 0)->fatal = DRM_PANTHOR_EXCEPTION_CS_UNRECOVERABLE;
	model.groups[slot].streams[0].dead = true;
	stream_event(slot, 0, CS_FATAL);
	return 0;
}

static int fault_of_space(u32 slot)
{
	mmu_fault(model.groups[slot].space, 0xdead000, AS_FAULTSTATUS_ACCESS_TYPE_WRITE);
	return 0;
}

static int with_first_group(int (*inject)(u32 slot))
{
	for (u32 slot = 0; model.up && slot < GROUPS; slot++) {
		if (group_runs(slot))
			return inject(slot);
	}
	return -ENOENT;
}

static int inject(const char *word)
{
	static const struct {
		const char *word;
		bool *flag;
		bool value;
	} flags[] = {
		{ "hang", &model.hung, true },
		{ "unhang", &model.hung, false },
		{ "boot-fails", &model.boot_fails, true },
		{ "halt-fails", &model.halt_fails, true },
		{ "protm-stuck", &model.protected_stuck, true },
		{ "protm-dead", &model.protected_dead, true },
		{ "protm-endless", &model.protected_endless, true },
		{ "protm-ends", &model.protected_endless, false },
		{ "protm-fault", &model.protected_faulty, true },
	};

	for (u32 i = 0; i < ARRAY_SIZE(flags); i++) {
		if (!strcmp(word, flags[i].word)) {
			*flags[i].flag = flags[i].value;
			return 0;
		}
	}
	if (!strcmp(word, "fatal"))
		return with_first_group(fatal);
	if (!strcmp(word, "mmu-fault"))
		return with_first_group(fault_of_space);
	if (!strcmp(word, "page-twice"))
		return mmu_map_twice(0, SHARED_VA + SHARED_BYTES) ? 0 : -ENOENT;
	if (!strcmp(word, "cpu-write"))
		return check_spoil();
	if (!strcmp(word, "gpu-fault")) {
		set(GPU_FAULT_STATUS, DRM_PANTHOR_EXCEPTION_GPU_BUS_FAULT);
		raise(GPU, GPU_IRQ_FAULT);
		return 0;
	}
	return -EINVAL;
}

static ssize_t inject_write(struct file *file, const char __user *from, size_t bytes,
			    loff_t *unused)
{
	char word[16] = {};
	int ret;

	if (bytes >= sizeof(word))
		return -EINVAL;
	if (copy_from_user(word, from, bytes))
		return -EFAULT;
	scoped_guard(raw_spinlock_irqsave, &model.lock)
		ret = inject(strim(word));
	return ret ?: bytes;
}

static const struct file_operations inject_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = inject_write,
};

void inject_begin(struct dentry *directory)
{
	debugfs_create_file("inject", 0200, directory, NULL, &inject_fops);
}
