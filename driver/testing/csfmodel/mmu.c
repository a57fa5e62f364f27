// SPDX-License-Identifier: GPL-2.0
/*
 * MMU of the GPU: page tables (AArch64, 4 KiB granule, 48 bits), the registers of the address
 * spaces, and the bus, which denies access to the carve-out except in protected mode.
 */

#include "complaint.h"
#include "interrupt.h"
#include "mmu.h"
#include "model.h"

#define LEVELS		4
#define ENTRIES		512
#define VALID		BIT_ULL(0)
#define TABLE		BIT_ULL(1)	/* or, at the last level, a page */
#define ADDRESS		GENMASK_ULL(47, 12)
/* Maximum number of tables that a walk reads: more than fit into the memory of the guests. */
#define MAX_TABLES	512

/* Time that the host has to leave protected mode for a command, in polls. */
#define PATIENCE	400

static u64 held_tables[SPACES];	/* at the entry to protected mode */
static u32 held_ticks[SPACES];	/* how long a command or a change has been held */

static u32 level_shift(u32 level)
{
	return PAGE_SHIFT + 9 * (LEVELS - 1 - level);
}

static u64 top_table(u32 space)
{
	return get64(MMU_AS_BASE + AS_TRANSTAB(space)) & ADDRESS;
}

static u64 *entry_of(u64 table, u32 index)
{
	return pfn_is_map_memory(PHYS_PFN(table)) ? (u64 *)phys_to_virt(table) + index : NULL;
}

/* The driver may have freed a table meanwhile: the walk tolerates any contents. */
static bool read_entry(u64 table, u32 index, u64 *entry)
{
	u64 *at = entry_of(table, index);

	if (!at)
		return false;
	*entry = READ_ONCE_NOCHECK(*at);
	return *entry & VALID;
}

/* Returns the entry that maps an address, and the size of its mapping, or NULL. */
static u64 *find_entry(u32 space, u64 va, u32 *shift)
{
	u64 table = top_table(space);

	for (u32 level = 0; table && level < LEVELS; level++) {
		u32 index;
		u64 entry;

		*shift = level_shift(level);
		index = (va >> *shift) % ENTRIES;
		if (!read_entry(table, index, &entry))
			return NULL;
		if (level == LEVELS - 1 || !(entry & TABLE))
			return entry_of(table, index);
		table = entry & ADDRESS;
	}
	return NULL;
}

bool mmu_translate(u32 space, u64 va, u64 *address)
{
	u64 *entry, within;
	u32 shift;

	entry = find_entry(space, va, &shift);
	if (!entry)
		return false;
	within = BIT_ULL(shift) - 1;
	*address = (READ_ONCE_NOCHECK(*entry) & ADDRESS & ~within) | (va & within);
	return true;
}

/* Maps a page a second time, in place of the next page, which no driver may do. */
bool mmu_map_twice(u32 space, u64 va)
{
	u32 shift;
	u64 *first = find_entry(space, va, &shift);
	u64 *next = find_entry(space, va + PAGE_SIZE, &shift);

	if (!first || !next || shift != PAGE_SHIFT)
		return false;
	WRITE_ONCE(*next, *first);
	return true;
}

struct walk {
	u32 space;
	u32 tables;
	mmu_visit visit;
	void *context;
};

static bool walk_table(struct walk *walk, u64 table, u32 level, u64 va)
{
	u32 shift = level_shift(level);

	if (++walk->tables > MAX_TABLES)
		return false;
	for (u32 i = 0; i < ENTRIES; i++, va += BIT_ULL(shift)) {
		u64 entry;
		bool more;

		if (!read_entry(table, i, &entry))
			continue;
		if (level < LEVELS - 1 && entry & TABLE)
			more = walk_table(walk, entry & ADDRESS, level + 1, va);
		else
			more = walk->visit(walk->context, walk->space, va, entry & ADDRESS,
					   BIT_ULL(shift), entry & ~ADDRESS);
		if (!more)
			return false;
	}
	return true;
}

/* Visits each mapping of an address space. Returns false if the visitor or the limit ended it. */
bool mmu_walk(u32 space, mmu_visit visit, void *context)
{
	struct walk walk = { .space = space, .visit = visit, .context = context };
	u64 table = top_table(space);

	return !table || walk_table(&walk, table, 0, 0);
}

/* Returns the memory at an address, to the end of its page. @secure: accessed in protected mode. */
void *mmu_memory(u32 space, u64 va, bool secure)
{
	u64 address;

	if (!mmu_translate(space, va, &address))
		return ERR_PTR(-EFAULT);
	if (in_carveout(address)) {
		u64 offset = address - model.carveout.start;

		if (!secure || !model.protected) {
			count(DENIED);
			complain("access to protected memory was denied: %llx of AS%u", va, space);
			return ERR_PTR(-EACCES);
		}
		count(PROTECTED_ACCESSES);
		set_bit(offset / PAGE_SIZE, model.written);
		return model.carveout.memory + offset;
	}
	if (!pfn_is_map_memory(PHYS_PFN(address)))
		return ERR_PTR(-EFAULT);
	return phys_to_virt(address);
}

/* Copies between a buffer and the memory of the GPU. */
bool mmu_copy(u32 space, u64 va, void *buffer, size_t bytes, bool write, bool secure)
{
	while (bytes) {
		size_t part = min(bytes, PAGE_SIZE - offset_in_page(va));
		void *memory = mmu_memory(space, va, secure);

		if (IS_ERR(memory))
			return false;
		if (write)
			memcpy(memory, buffer, part);
		else
			memcpy(buffer, memory, part);
		va += part;
		buffer += part;
		bytes -= part;
	}
	return true;
}

/*
 * Returns the kind of memory behind a range: CARVE_OUT only if all of it is. @mapped is the number
 * of bytes, from the beginning, that are mapped to contiguous memory.
 */
enum where mmu_where(u32 space, u64 va, u64 bytes, u64 *mapped)
{
	u64 address, first = 0, contiguous = 0;
	u32 pages = 0, protected = 0;

	for (u64 offset = 0; offset < bytes; offset += PAGE_SIZE) {
		if (!mmu_translate(space, va + offset, &address))
			continue;
		pages++;
		protected += in_carveout(address);
		if (!offset)
			first = address;
		if (contiguous == offset && address == first + offset)
			contiguous += PAGE_SIZE;
	}
	if (mapped)
		*mapped = contiguous;
	if (!pages)
		return NOWHERE;
	return protected == DIV_ROUND_UP(bytes, PAGE_SIZE) ? CARVE_OUT : ORDINARY;
}

/* access: AS_FAULTSTATUS_ACCESS_TYPE_* */
void mmu_fault(u32 space, u64 va, u32 access)
{
	u32 status = DRM_PANTHOR_EXCEPTION_TRANSLATION_FAULT_3 | access;

	set(MMU_AS_BASE + AS_FAULTSTATUS(space), status);
	set64(MMU_AS_BASE + AS_FAULTADDRESS(space), va);
	raise(MMU, BIT(space));
}

/*
 * In protected mode the MMU executes no command, and reports that it is busy. The host cannot
 * prevent that protected mode begins just when it writes a command, which is then held.
 */
void mmu_hold(bool hold)
{
	for (u32 i = 0; i < SPACES; i++) {
		set(MMU_AS_BASE + AS_STATUS(i), hold ? AS_STATUS_AS_ACTIVE : 0);
		set(MMU_AS_BASE + AS_COMMAND(i), AS_COMMAND_NOP);
		held_tables[i] = top_table(i);
		held_ticks[i] = 0;
	}
}

static void hold(u32 space, u32 command)
{
	if (!command && top_table(space) == held_tables[space]) {
		held_ticks[space] = 0;
		return;
	}
	if (++held_ticks[space] != PATIENCE)
		return;
	if (command)
		complain("MMU command %u for AS%u in protected mode", command, space);
	else
		complain("the page table of AS%u was changed in protected mode", space);
}

void mmu_tick(void)
{
	for (u32 i = 0; i < SPACES; i++) {
		u32 command = get(MMU_AS_BASE + AS_COMMAND(i));

		if (model.protected) {
			hold(i, command);
		} else if (command) {
			set(MMU_AS_BASE + AS_COMMAND(i), AS_COMMAND_NOP);
			if (model.entering)
				count(MMU_COMMANDS_ENTERING);
		}
	}
}

/* Clears the page tables of all address spaces. */
void mmu_reset(void)
{
	memset_io(model.registers + MMU_AS_BASE, 0, MMU_AS(SPACES));
}
