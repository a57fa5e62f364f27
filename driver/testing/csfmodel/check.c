// SPDX-License-Identifier: GPL-2.0
/*
 * Invariants of the driver's use of memory. A violation is reported as a complaint.
 *
 * The firmware's address space maps no page twice, and shares no page with another address space.
 * Therefore no two objects that the firmware or protected mode uses overlap. The CPU does not write
 * to the carve-out.
 */

#include <linux/bitmap.h>
#include <linux/of_address.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "check.h"
#include "complaint.h"
#include "mmu.h"
#include "model.h"

/* Physical addresses that are checked: those of the test boards. */
#define WINDOW_PAGES	(2 * SZ_4G / PAGE_SIZE)
/* Minimum number of ticks between two requested checks, and maximum between any two. */
#define AT_LEAST	200
#define AT_MOST		2000

/* Size of the largest carve-out that can be checked. */
#define MAX_CARVEOUT	SZ_16M

/* The carve-out of the board, while another one is lent. */
static struct carveout fixed;
static bool lent;

static unsigned long *firmware_pages;	/* bitmap of the pages that the firmware maps */
static u64 last_look;
static bool soon;

enum suspect { NONE, TWICE, OUTSIDE, ENDLESS };

/* Has no padding: compared with memcmp(). */
struct suspicion {
	u64 address;
	u64 va;
	u32 space;
	enum suspect what;
};

static struct suspicion suspicion;

static bool visit(void *context, u32 space, u64 va, u64 address, u64 bytes, u64 attributes)
{
	struct suspicion *found = context;
	u64 end = address + bytes;

	for (; address < end; address += PAGE_SIZE, va += PAGE_SIZE) {
		u64 page = address / PAGE_SIZE;
		bool taken;

		if (page >= WINDOW_PAGES) {
			*found = (struct suspicion){ address, va, space, OUTSIDE };
			return false;
		}
		if (space)
			taken = test_bit(page, firmware_pages);
		else
			taken = __test_and_set_bit(page, firmware_pages);
		if (taken) {
			*found = (struct suspicion){ address, va, space, TWICE };
			return false;
		}
	}
	return true;
}

static void report(const struct suspicion *found)
{
	switch (found->what) {
	case TWICE:
		complain("page %llx is mapped twice: by the firmware, and at %llx of AS%u",
			 found->address, found->va, found->space);
		break;
	case OUTSIDE:
		complain("AS%u maps %llx, where no test board has memory", found->space,
			 found->address);
		break;
	case ENDLESS:
		complain("AS%u has too many page tables to check", found->space);
		break;
	case NONE:
		break;
	}
}

/* Used by the firmware or a running group. Page tables of any other space may have been freed. */
static bool is_used(u32 space)
{
	bool used = !space;

	for (u32 slot = 0; slot < GROUPS; slot++)
		used |= group_runs(slot) && model.groups[slot].space == space;
	return used;
}

/*
 * With several processors, the driver changes and frees page tables during a check. A page that
 * moves from one user to another can be seen twice, and a freed table can contain anything. Only
 * what two checks in a row find is therefore reported.
 */
static void look(void)
{
	struct suspicion found = {};

	count(CHECKS);
	last_look = model.counts[TICKS];
	soon = false;
	bitmap_zero(firmware_pages, WINDOW_PAGES);
	for (u32 space = 0; space < SPACES; space++) {
		if (!is_used(space) || mmu_walk(space, visit, &found))
			continue;
		if (found.what == NONE)
			found = (struct suspicion){ .what = ENDLESS, .space = space };
		break;
	}
	if (!memcmp(&found, &suspicion, sizeof(found)))
		report(&found);
	suspicion = found;
}

void check_soon(void)
{
	soon = true;
}

void check_tick(void)
{
	u64 since = model.counts[TICKS] - last_look;

	if (model.up && (suspicion.what || (soon && since >= AT_LEAST) || since >= AT_MOST))
		look();
}

static u64 pattern(size_t offset)
{
	return 0x9e3779b97f4a7c15ULL ^ offset;
}

static void complain_spoilt(phys_addr_t where)
{
	complain("the carve-out was changed by a foreign write at %llx", (u64)where);
}

/* Returns whether something other than the model has written to the carve-out, and where. */
static bool is_spoilt(const struct carveout *carveout, phys_addr_t *where)
{
	for (size_t offset = 0; offset < carveout->bytes; offset += sizeof(u64)) {
		u64 *word = carveout->memory + offset;

		/* Test the bit after the word, because the model sets it before it writes. */
		if (READ_ONCE(*word) == pattern(offset) ||
		    test_bit(offset / PAGE_SIZE, model.written))
			continue;
		*where = carveout->start + offset;
		return true;
	}
	return false;
}

static void look_at_carveout(void)
{
	struct carveout carveout;
	phys_addr_t where;

	scoped_guard(raw_spinlock_irqsave, &model.lock)
		carveout = model.carveout;
	if (!is_spoilt(&carveout, &where))
		return;
	guard(raw_spinlock_irqsave)(&model.lock);
	/* Ignore a carve-out that was reclaimed meanwhile. */
	if (model.carveout.start == carveout.start)
		complain_spoilt(where);
}

/* Runs all checks. Returns true if there has never been a complaint. */
bool check_now(void)
{
	for (u32 i = 0; i < 2; i++) {
		scoped_guard(raw_spinlock_irqsave, &model.lock)
			look();
	}
	look_at_carveout();
	return !complaint(0);
}

/* Writes to the carve-out, which no CPU may do. */
int check_spoil(void)
{
	u64 *last = model.carveout.memory + model.carveout.bytes - sizeof(u64);

	if (!model.carveout.bytes)
		return -ENOENT;
	WRITE_ONCE(*last, ~*last);
	return 0;
}

static void fill(void)
{
	bitmap_zero(model.written, MAX_CARVEOUT / PAGE_SIZE);
	for (size_t offset = 0; offset < model.carveout.bytes; offset += sizeof(u64))
		*(u64 *)(model.carveout.memory + offset) = pattern(offset);
}

/* The kernel has lent memory to the secure world. */
void check_lent(phys_addr_t start, size_t bytes)
{
	guard(raw_spinlock_irqsave)(&model.lock);
	if (lent)
		complain("memory is lent twice: at %pa, and now at %pa", &model.carveout.start,
			 &start);
	else if (bytes > MAX_CARVEOUT)
		complain("%zu bytes are lent, which exceeds MAX_CARVEOUT", bytes);
	if (lent || bytes > MAX_CARVEOUT)
		return;
	pr_info("csfmodel: lent pa %pa, size %#zx\n", &start, bytes);
	lent = true;
	fixed = model.carveout;
	model.carveout = (struct carveout){ start, bytes, phys_to_virt(start) };
	fill();
}

/* The kernel reclaims the memory. */
void check_reclaimed(phys_addr_t start)
{
	phys_addr_t where;

	guard(raw_spinlock_irqsave)(&model.lock);
	if (!lent || start != model.carveout.start)
		return;
	if (is_spoilt(&model.carveout, &where))
		complain_spoilt(where);
	lent = false;
	model.carveout = fixed;
	fill();
}

static int find_carveout(void)
{
	struct device_node *node = of_find_compatible_node(NULL, NULL, "protheap,test-carveout");
	struct resource carveout;
	int ret;

	if (!node)
		return 0;
	ret = of_address_to_resource(node, 0, &carveout);
	of_node_put(node);
	if (!ret && (pfn_is_map_memory(PHYS_PFN(carveout.start)) ||
		     resource_size(&carveout) > MAX_CARVEOUT))
		ret = -EINVAL;
	if (ret) {
		pr_err("csfmodel: failed to use the carve-out: %d; check reg and no-map\n", ret);
		return ret;
	}
	model.carveout = (struct carveout){
		.start = carveout.start,
		.bytes = resource_size(&carveout),
		.memory = memremap(carveout.start, resource_size(&carveout), MEMREMAP_WC),
	};
	if (!model.carveout.memory)
		return -ENOMEM;
	fill();
	return 0;
}

int check_begin(void)
{
	int ret;

	firmware_pages = vzalloc(WINDOW_PAGES / BITS_PER_BYTE);
	model.written = bitmap_zalloc(MAX_CARVEOUT / PAGE_SIZE, GFP_KERNEL);
	ret = firmware_pages && model.written ? find_carveout() : -ENOMEM;
	if (ret)
		check_end();
	return ret;
}

void check_end(void)
{
	const struct carveout *own = lent ? &fixed : &model.carveout;

	vfree(firmware_pages);
	bitmap_free(model.written);
	if (own->memory)
		memunmap(own->memory);
}
