/* SPDX-License-Identifier: GPL-2.0 */
/* State of the simulated GPU, and access to its registers. */
#ifndef CSFMODEL_MODEL_H
#define CSFMODEL_MODEL_H

#include <linux/io.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "panthor_device.h"
#include "panthor_fw.h"
#include "panthor_fw_regs.h"
#include "panthor_gpu_regs.h"
#include "panthor_mmu_regs.h"

#define GROUPS		8	/* command stream group slots */
#define STREAMS		8	/* command streams of a group */
#define SPACES		8	/* address spaces; the firmware's is 0 */
#define CALLS		4	/* depth of nested calls */

/* Addresses of the firmware's sections: the same in every known image. */
#define SHARED_VA	0x04000000
#define SHARED_BYTES	0xb000	/* the part that the interfaces use */
#define SECTION_VA	0x03000000
#define SECTION_BYTES	0x40000
#define SECTION_PAGES	(SECTION_BYTES / PAGE_SIZE)

enum counter {
	TICKS, BOOTS, RESUMES, HALTS, SOFT_RESETS, PINGS, FLUSHES, JOBS, SYNCS, FAULTS,
	HEAP_REQUESTS, HEAP_CHUNKS, HEAP_CHUNKS_ENTERING, MMU_COMMANDS_ENTERING,
	GROUP_STARTS, GROUP_SUSPENDS, GROUP_RESUMES, RESUMED_INTACT, GROUP_TERMINATES,
	PROTECTED_REQUESTS, PROTECTED_ENTRIES, PROTECTED_EXITS, PROTECTED_FAULTS,
	PROTECTED_UNSERVED, PROTECTED_PINGS,
	PROTECTED_ACCESSES, DENIED, PROTECTED_SUSPENDS, PROTECTED_RESUMES_INTACT,
	SECTION_MOVED, CHECKS, COMPLAINTS, COUNTERS
};

enum interrupt { JOB, MMU, GPU, INTERRUPTS };

/* Kind of the memory behind a range of addresses. */
enum where { NOWHERE, ORDINARY, CARVE_OUT };

struct call {
	u64 at;
	u64 end;
};

struct stream {
	u32 registers[256];
	struct call calls[CALLS];
	u32 depth;	/* of the running call; 0: the ring */
	u32 region;	/* remaining instructions of the protected region */
	bool wants;	/* needs protected mode, to start or continue a region */
	bool asked;	/* has requested it from the host */
	bool granted;	/* runs in protected mode: the host has acknowledged the request */
	u64 heap;	/* address of the context of the tiler heap */
	bool starved;	/* has requested memory for the heap, and waits */
	bool faulted;	/* writes nothing until the next ERROR_BARRIER */
	bool dead;	/* until the group is started again */
};

struct group {
	u32 state;	/* CSG_STATE_*, as reported to the host */
	u32 space;
	u64 suspend_va;
	u64 protected_va;
	u64 saved;	/* contents of the protected suspend buffer; 0: none */
	bool busy;	/* has instructions to run, or requests to handle */
	bool ran;	/* has run an instruction in this tick */
	struct stream streams[STREAMS];
};

/* Memory behind the simulated firewall of the bus. */
struct carveout {
	phys_addr_t start;
	size_t bytes;
	void *memory;
};

struct model {
	raw_spinlock_t lock;	/* protects all other members */
	void __iomem *registers;
	resource_size_t bytes;
	int irq[INTERRUPTS];
	u32 gpu_id;
	u64 counts[COUNTERS];

	/* The firmware. */
	bool up;
	bool halted;
	void *shared[SHARED_BYTES / PAGE_SIZE];
	struct group groups[GROUPS];

	/* Pages of the protected section at the last boot; 0 if not mapped. */
	u64 section[SECTION_PAGES];
	u32 section_pages;
	enum where section_where;
	bool prepared;	/* the last full boot found the protected section */
	u64 booted_at;	/* last full boot, in microseconds of CLOCK_MONOTONIC */
	u64 report_at;	/* time to raise the interrupt of that boot; 0: raised */

	/* Protected mode. */
	bool protected;
	bool entering;	/* protected mode was requested */
	u64 enter_at;	/* earliest time of the entry, in microseconds of CLOCK_MONOTONIC */
	int runs;	/* slot whose protected regions run, or -1 */
	u32 ticks_left;	/* minimum until protected mode ends */

	/* Faults injected through debugfs. */
	bool hung;	/* the firmware does nothing until its next boot */
	bool boot_fails;
	bool halt_fails;
	bool protected_stuck;
	bool protected_dead;
	bool protected_endless;
	bool protected_faulty;

	struct carveout carveout;
	unsigned long *written;	/* bitmap of the pages that the model has written to */
};

extern struct model model;
extern uint suspend_bytes, protected_suspend_bytes, protected_ticks, boot_interrupt_ms;
extern uint interface_version, protected_enter_ms;
extern bool protected_highest_slot, protected_repeats;

/* Versions of the firmware's interface that have other fields. */
#define WIDE_ENDPOINTS	0x04000000	/* 4.0.0 */
#define GLOBAL_STATE	0x04010000	/* 4.1.0 */

static inline void count(enum counter counter)
{
	model.counts[counter]++;
}

static inline u32 get(u32 reg)
{
	return gpu_read_relaxed(model.registers, reg);
}

static inline void set(u32 reg, u32 value)
{
	writel_relaxed(value, model.registers + reg);
}

static inline u64 get64(u32 reg)
{
	return gpu_read64_relaxed(model.registers, reg);
}

static inline void set64(u32 reg, u64 value)
{
	set(reg, lower_32_bits(value));
	set(reg + 4, upper_32_bits(value));
}

static inline bool group_runs(u32 slot)
{
	u32 state = model.groups[slot].state;

	return state == CSG_STATE_START || state == CSG_STATE_RESUME;
}

static inline bool in_carveout(u64 address)
{
	return address - model.carveout.start < model.carveout.bytes;
}

#endif
