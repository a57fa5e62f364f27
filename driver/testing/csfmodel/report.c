// SPDX-License-Identifier: GPL-2.0
/* Files in debugfs: each line has a name and a value, or describes one object. */

#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "check.h"
#include "complaint.h"
#include "inject.h"
#include "interface.h"
#include "mmu.h"
#include "model.h"
#include "protected.h"
#include "report.h"

static const char * const counter_names[COUNTERS] = {
	[TICKS] = "ticks",
	[BOOTS] = "boots",
	[RESUMES] = "resumes",
	[HALTS] = "halts",
	[SOFT_RESETS] = "soft-resets",
	[PINGS] = "pings",
	[FLUSHES] = "flushes",
	[JOBS] = "jobs",
	[SYNCS] = "syncs",
	[FAULTS] = "faults",
	[HEAP_REQUESTS] = "heap-requests",
	[HEAP_CHUNKS] = "heap-chunks",
	[HEAP_CHUNKS_ENTERING] = "heap-chunks-while-entering",
	[MMU_COMMANDS_ENTERING] = "mmu-commands-while-entering",
	[GROUP_STARTS] = "group-starts",
	[GROUP_SUSPENDS] = "group-suspends",
	[GROUP_RESUMES] = "group-resumes",
	[RESUMED_INTACT] = "resumed-intact",
	[GROUP_TERMINATES] = "group-terminates",
	[PROTECTED_REQUESTS] = "protected-requests",
	[PROTECTED_ENTRIES] = "protected-entries",
	[PROTECTED_EXITS] = "protected-exits",
	[PROTECTED_FAULTS] = "protected-faults",
	[PROTECTED_UNSERVED] = "protected-unserved",
	[PROTECTED_PINGS] = "protected-pings",
	[PROTECTED_ACCESSES] = "protected-accesses",
	[DENIED] = "denied",
	[PROTECTED_SUSPENDS] = "protected-suspends",
	[PROTECTED_RESUMES_INTACT] = "protected-resumes-intact",
	[SECTION_MOVED] = "section-moved",
	[CHECKS] = "checks",
	[COMPLAINTS] = "complaints",
};

static const char * const where_names[] = {
	[NOWHERE] = "none",
	[ORDINARY] = "ordinary",
	[CARVE_OUT] = "carve-out",
};

static const char * const state_names[] = {
	[CSG_STATE_TERMINATE] = "terminated",
	[CSG_STATE_START] = "started",
	[CSG_STATE_SUSPEND] = "suspended",
	[CSG_STATE_RESUME] = "resumed",
};

static struct dentry *directory;

static int counters_show(struct seq_file *file, void *unused)
{
	guard(raw_spinlock_irqsave)(&model.lock);
	for (u32 i = 0; i < COUNTERS; i++)
		seq_printf(file, "%s %llu\n", counter_names[i], model.counts[i]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static int firmware_show(struct seq_file *file, void *unused)
{
	guard(raw_spinlock_irqsave)(&model.lock);
	seq_printf(file, "up %d\n", model.up);
	seq_printf(file, "halted %d\n", model.halted);
	seq_printf(file, "protected-mode %d\n", model.protected);
	seq_printf(file, "entering-protected-mode %d\n", model.entering);
	seq_printf(file, "protected-section %s\n", where_names[model.section_where]);
	seq_printf(file, "protected-section-pages %u\n", model.section_pages);
	seq_printf(file, "protected-section-at %llx\n", model.section[0]);
	seq_printf(file, "prepared %d\n", model.prepared);
	seq_printf(file, "booted-at-us %llu\n", model.booted_at);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(firmware);

/* A group that is in no slot is visible in the page tables only: see map. */
static int groups_show(struct seq_file *file, void *unused)
{
	guard(raw_spinlock_irqsave)(&model.lock);
	for (u32 slot = 0; slot < GROUPS; slot++) {
		struct group *group = &model.groups[slot];
		enum where suspend, protected;
		u64 mapped;

		if (!group_runs(slot) && group->state != CSG_STATE_SUSPEND)
			continue;
		suspend = mmu_where(0, group->suspend_va, suspend_bytes, NULL);
		protected = group->protected_va ?
			    mmu_where(0, group->protected_va, protected_suspend_bytes, &mapped) :
			    NOWHERE;
		seq_printf(file, "%u %s as %u suspend %llx %s protm %llx %s %llu ", slot,
			   state_names[group->state], group->space, group->suspend_va,
			   where_names[suspend], group->protected_va, where_names[protected],
			   protected ? mapped : 0);
		seq_printf(file, "priority %u wants-protected %u\n", group_priority(slot),
			   protected_streams(slot));
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(groups);

struct extent {
	struct seq_file *file;
	u32 space;
	u64 va;
	u64 address;
	u64 bytes;
	u64 attributes;
};

static void show_extent(struct extent *extent)
{
	if (extent->bytes)
		seq_printf(extent->file, "%u %012llx-%012llx %010llx %016llx %s\n", extent->space,
			   extent->va, extent->va + extent->bytes, extent->address,
			   extent->attributes,
			   where_names[in_carveout(extent->address) ? CARVE_OUT : ORDINARY]);
	extent->bytes = 0;
}

static bool visit(void *context, u32 space, u64 va, u64 address, u64 bytes, u64 attributes)
{
	struct extent *extent = context;

	if (!extent->bytes || va != extent->va + extent->bytes ||
	    address != extent->address + extent->bytes || attributes != extent->attributes) {
		show_extent(extent);
		extent->space = space;
		extent->va = va;
		extent->address = address;
		extent->attributes = attributes;
	}
	extent->bytes += bytes;
	return true;
}

/* A suspended GPU has no page tables: write `on` to its power/control to prevent that. */
static int map_show(struct seq_file *file, void *unused)
{
	struct extent extent = { .file = file };

	guard(raw_spinlock_irqsave)(&model.lock);
	for (u32 space = 0; space < SPACES; space++) {
		if (!mmu_walk(space, visit, &extent))
			seq_printf(file, "%u has more mappings\n", space);
		show_extent(&extent);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(map);

static int complaints_show(struct seq_file *file, void *unused)
{
	guard(raw_spinlock_irqsave)(&model.lock);
	for (u32 i = 0; complaint(i); i++)
		seq_printf(file, "%s\n", complaint(i));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(complaints);

static int check_show(struct seq_file *file, void *unused)
{
	if (!check_now())
		return complaints_show(file, unused);
	seq_puts(file, "fine\n");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(check);

void report_begin(void)
{
	directory = debugfs_create_dir("csfmodel", NULL);
	debugfs_create_file("counters", 0400, directory, NULL, &counters_fops);
	debugfs_create_file("firmware", 0400, directory, NULL, &firmware_fops);
	debugfs_create_file("groups", 0400, directory, NULL, &groups_fops);
	debugfs_create_file("map", 0400, directory, NULL, &map_fops);
	debugfs_create_file("complaints", 0400, directory, NULL, &complaints_fops);
	debugfs_create_file("check", 0400, directory, NULL, &check_fops);
	inject_begin(directory);
}

void report_end(void)
{
	debugfs_remove(directory);
}
