// SPDX-License-Identifier: GPL-2.0
/*
 * Protected mode: only the firmware and the protected regions of one group run.
 *
 * Protected mode ends when these regions have been executed, but not before protected_ticks. If the
 * host pings, halts, or suspends the group, it ends immediately, and the state of unfinished
 * regions is saved to the protected suspend buffer.
 */

#include "complaint.h"
#include "interface.h"
#include "interrupt.h"
#include "mmu.h"
#include "model.h"
#include "protected.h"
#include "stream.h"

#define STATE_MAGIC	0x50524f5400000000ULL

/* Returns the number of streams of a group that wait for protected mode or run in it. */
u32 protected_streams(u32 slot)
{
	u32 streams = 0;

	for (u32 index = 0; index < STREAMS; index++)
		streams += model.groups[slot].streams[index].wants;
	return streams;
}

/* Returns the slot with the highest priority among those that wait for protected mode, or -1. */
static int pick(void)
{
	u32 best = 0;
	int picked = -1;

	for (u32 slot = 0; slot < GROUPS; slot++) {
		u32 priority = group_priority(slot);

		if (group_runs(slot) && protected_streams(slot) &&
		    (picked < 0 || priority > best)) {
			best = priority;
			picked = slot;
		}
	}
	return picked;
}

static bool buffer_is_its_own(u32 slot)
{
	u64 va = model.groups[slot].protected_va;

	for (u32 other = 0; other < GROUPS; other++) {
		u64 begin = model.groups[other].protected_va;

		if (other != slot && group_runs(other) && begin &&
		    begin < va + protected_suspend_bytes && va < begin + protected_suspend_bytes)
			return false;
	}
	return true;
}

/* Checks that everything that protected mode needs exists and is in the carve-out. */
static bool can_enter(int slot)
{
	u64 va;

	if (!model.prepared)
		return false;
	if (mmu_where(0, SECTION_VA, SECTION_BYTES, NULL) != CARVE_OUT) {
		complain("protected mode is entered, but the section is not in the carve-out");
		return false;
	}
	if (slot < 0)
		return true;
	va = model.groups[slot].protected_va;
	if (mmu_where(0, va, protected_suspend_bytes, NULL) != CARVE_OUT) {
		complain("slot %d: its protected buffer at %llx is not in the carve-out", slot, va);
		return false;
	}
	if (!buffer_is_its_own(slot)) {
		complain("slot %d: its protected buffer at %llx overlaps another", slot, va);
		return false;
	}
	return true;
}

/* The firmware counts entries in its protected section. */
static void use_section(void)
{
	u64 *entries = mmu_memory(0, SECTION_VA, true);

	if (!IS_ERR(entries))
		WRITE_ONCE(*entries, *entries + 1);
}

static void restore(u32 slot)
{
	struct group *group = &model.groups[slot];
	u64 found = 0;

	if (!group->saved)
		return;
	if (mmu_copy(0, group->protected_va, &found, sizeof(found), false, true) &&
	    found == group->saved)
		count(PROTECTED_RESUMES_INTACT);
	else
		complain("slot %u: its protected buffer at %llx has changed", slot,
			 group->protected_va);
	group->saved = 0;
}

static void save(u32 slot)
{
	struct group *group = &model.groups[slot];

	count(PROTECTED_SUSPENDS);
	group->saved = STATE_MAGIC | lower_32_bits(model.counts[PROTECTED_SUSPENDS]);
	if (!mmu_copy(0, group->protected_va, &group->saved, sizeof(group->saved), true, true))
		complain("slot %u: failed to write its protected buffer at %llx", slot,
			 group->protected_va);
}

/* Acknowledges the requests of the streams that run now. */
static void answer(u32 slot)
{
	for (u32 index = 0; index < STREAMS; index++) {
		struct panthor_fw_cs_output_iface *out = stream_output(slot, index);
		u32 req = READ_ONCE(stream_input(slot, index)->req);

		if (model.groups[slot].streams[index].wants)
			WRITE_ONCE(out->ack, (out->ack & ~CS_PROTM_PENDING) |
				   (req & CS_PROTM_PENDING));
	}
}

void protected_enter(void)
{
	int slot = pick();

	if (model.protected)
		return;
	if (!can_enter(slot)) {
		count(PROTECTED_FAULTS);
		raise(GPU, GPU_IRQ_PROTM_FAULT);
		return;
	}
	count(PROTECTED_ENTRIES);
	model.protected = true;
	model.runs = slot;
	model.ticks_left = protected_ticks;
	set(GPU_STATUS, get(GPU_STATUS) | GPU_STATUS_PROTM_ACTIVE);
	mmu_hold(true);
	use_section();
	if (slot >= 0) {
		answer(slot);
		restore(slot);
	}
}

/* Leaves protected mode without notifying the host: after a reset, or when the firmware stops. */
void protected_forget(void)
{
	if (!model.protected)
		return;
	model.protected = false;
	model.protected_stuck = false;
	model.protected_dead = false;
	model.runs = -1;
	set(GPU_STATUS, get(GPU_STATUS) & ~GPU_STATUS_PROTM_ACTIVE);
	mmu_hold(false);
}

void protected_leave(bool keep)
{
	if (!model.protected)
		return;
	if (keep && model.runs >= 0 && protected_streams(model.runs))
		save(model.runs);
	/* Unfinished streams, and those of other groups, have to request protected mode again. */
	for (u32 slot = 0; slot < GROUPS; slot++) {
		for (u32 index = 0; index < STREAMS; index++)
			model.groups[slot].streams[index].asked = false;
		model.groups[slot].busy = true;
	}
	protected_forget();
	count(PROTECTED_EXITS);
	global_event(GLB_PROTM_EXIT);
}

void protected_tick(void)
{
	bool unfinished = false;

	for (u32 index = 0; model.runs >= 0 && index < STREAMS; index++) {
		struct stream *stream = &model.groups[model.runs].streams[index];

		if (stream->wants && !model.protected_stuck)
			stream_run(model.runs, index, true);
		unfinished |= stream->wants && !stream->dead;
	}
	if (model.ticks_left)
		model.ticks_left--;
	if (!unfinished && !model.ticks_left && !model.protected_stuck)
		protected_leave(false);
}
