// SPDX-License-Identifier: GPL-2.0
/*
 * Protected mode: only the firmware and the protected regions of one group run.
 *
 * When the host requests protected mode, the firmware looks which requests of streams the host has
 * acknowledged. It enters when protected_enter_ms have passed and no stream waits for memory;
 * meanwhile all groups run. Then the streams of one group run whose requests were acknowledged:
 * the group with the highest priority among those that have such streams or, with
 * protected_highest_slot, among all.
 *
 * Protected mode ends when their regions have been executed, but not before protected_ticks. If the
 * host pings, halts, or suspends the group, it ends immediately, and the state of unfinished
 * regions is saved to the protected suspend buffer. Streams that still need protected mode request
 * it again. Without protected_repeats they do not, if the request was acknowledged, but their
 * status continues to report it.
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

/* Returns whether the host has acknowledged a request of any stream of a group. */
static bool is_granted(u32 slot)
{
	for (u32 index = 0; index < STREAMS; index++) {
		if (model.groups[slot].streams[index].granted)
			return true;
	}
	return false;
}

/* Returns the slot of the group that runs in protected mode, or -1. */
static int pick(void)
{
	u32 best = 0;
	int picked = -1;

	for (u32 slot = 0; slot < GROUPS; slot++) {
		u32 priority = group_priority(slot);

		if (group_runs(slot) && (protected_highest_slot || is_granted(slot)) &&
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
	if (slot < 0 || !is_granted(slot))
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

static bool is_acknowledged(u32 slot, u32 index)
{
	return !((READ_ONCE(stream_input(slot, index)->req) ^ stream_output(slot, index)->ack) &
		 CS_PROTM_PENDING);
}

/* The host requests protected mode. */
void protected_request(void)
{
	if (model.entering)
		return;
	model.entering = true;
	model.enter_at = ktime_to_us(ktime_get()) + protected_enter_ms * USEC_PER_MSEC;
	for (u32 slot = 0; slot < GROUPS; slot++) {
		for (u32 index = 0; index < STREAMS; index++) {
			struct stream *stream = &model.groups[slot].streams[index];

			stream->granted = group_runs(slot) && stream->wants && stream->asked &&
					  is_acknowledged(slot, index);
		}
	}
}

static bool is_any_starved(void)
{
	for (u32 slot = 0; slot < GROUPS; slot++) {
		for (u32 index = 0; group_runs(slot) && index < STREAMS; index++) {
			struct stream *stream = &model.groups[slot].streams[index];

			if (stream->starved && !stream->dead)
				return true;
		}
	}
	return false;
}

static void enter(void)
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
	if (slot < 0 || !is_granted(slot))
		count(PROTECTED_UNSERVED);
	else
		restore(slot);
}

/* Enters protected mode if it was requested and the time has come. */
void protected_enter_tick(void)
{
	struct panthor_fw_global_output_iface *out = global_output();
	struct panthor_fw_global_input_iface *in = global_input();

	if (!model.entering || is_any_starved() || ktime_to_us(ktime_get()) < model.enter_at)
		return;
	model.entering = false;
	enter();
	WRITE_ONCE(out->ack,
		   (out->ack & ~GLB_PROTM_ENTER) | (READ_ONCE(in->req) & GLB_PROTM_ENTER));
	if (in->ack_irq_mask & GLB_PROTM_ENTER)
		raise(JOB, JOB_INT_GLOBAL_IF);
}

/* Leaves protected mode without notifying the host: after a reset, or when the firmware stops. */
void protected_forget(void)
{
	model.entering = false;
	if (!model.protected)
		return;
	model.protected = false;
	model.protected_stuck = false;
	model.protected_dead = false;
	model.protected_faulty = false;
	model.runs = -1;
	set(GPU_STATUS, get(GPU_STATUS) & ~GPU_STATUS_PROTM_ACTIVE);
	mmu_hold(false);
}

void protected_leave(bool keep)
{
	if (!model.protected)
		return;
	if (keep && model.runs >= 0 && is_granted(model.runs))
		save(model.runs);
	for (u32 slot = 0; slot < GROUPS; slot++) {
		for (u32 index = 0; index < STREAMS; index++) {
			struct stream *stream = &model.groups[slot].streams[index];

			/* Unfinished streams have to request protected mode again. */
			if (protected_repeats)
				stream->asked = false;
			stream->granted = false;
		}
		model.groups[slot].busy = true;
	}
	protected_forget();
	count(PROTECTED_EXITS);
	global_event(GLB_PROTM_EXIT);
}

void protected_tick(void)
{
	bool blocked = model.protected_stuck || model.protected_endless || model.protected_faulty;
	bool unfinished = false;

	/* Such a fault persists until the GPU leaves protected mode. */
	if (model.protected_faulty)
		raise(GPU, GPU_IRQ_PROTM_FAULT);
	for (u32 index = 0; model.runs >= 0 && index < STREAMS; index++) {
		struct stream *stream = &model.groups[model.runs].streams[index];

		if (stream->granted && !blocked)
			stream_run(model.runs, index, true);
		unfinished |= stream->granted && !stream->dead;
	}
	if (model.ticks_left)
		model.ticks_left--;
	if (!unfinished && !model.ticks_left && !model.protected_stuck)
		protected_leave(false);
}
