// SPDX-License-Identifier: GPL-2.0
/* Command stream groups: requests of the host, and contents of suspend buffers. */

#include <linux/jhash.h>

#include "check.h"
#include "complaint.h"
#include "context.h"
#include "group.h"
#include "interface.h"
#include "interrupt.h"
#include "mmu.h"
#include "model.h"
#include "protected.h"
#include "stream.h"

#define SAVED_MAGIC	0x53555350454e44ULL

/* Contents of a suspend buffer. */
struct saved {
	u64 magic;
	u64 protected;	/* `saved` of struct group */
	u64 hash;
	struct stream streams[STREAMS];
};

/* Protected by the lock of the model; too large for the stack. */
static struct saved saved;

static u64 hash(void)
{
	return jhash(saved.streams, sizeof(saved.streams), lower_32_bits(saved.protected));
}

static void suspend(u32 slot)
{
	struct group *group = &model.groups[slot];

	count(GROUP_SUSPENDS);
	saved.magic = SAVED_MAGIC;
	saved.protected = group->saved;
	memcpy(saved.streams, group->streams, sizeof(saved.streams));
	saved.hash = hash();
	if (sizeof(saved) > suspend_bytes ||
	    !mmu_copy(0, group->suspend_va, &saved, sizeof(saved), true, false))
		complain("slot %u: failed to write its buffer at %llx", slot, group->suspend_va);
}

static void resume(u32 slot)
{
	struct group *group = &model.groups[slot];

	count(GROUP_RESUMES);
	memset(&saved, 0, sizeof(saved));
	if (mmu_copy(0, group->suspend_va, &saved, sizeof(saved), false, false) &&
	    saved.magic == SAVED_MAGIC && saved.hash == hash()) {
		count(RESUMED_INTACT);
	} else {
		complain("slot %u: its buffer at %llx has changed", slot, group->suspend_va);
		memset(&saved, 0, sizeof(saved));
	}
	group->saved = saved.protected;
	memcpy(group->streams, saved.streams, sizeof(saved.streams));
	for (u32 index = 0; index < STREAMS; index++) {
		group->streams[index].asked = false;
		group->streams[index].granted = false;
		group->streams[index].starved = false;
		group->streams[index].dead = false;
	}
}

static void start(u32 slot)
{
	struct group *group = &model.groups[slot];

	count(GROUP_STARTS);
	group->saved = 0;
	memset(group->streams, 0, sizeof(group->streams));
}

static void change_state(u32 slot, u32 state)
{
	struct group *group = &model.groups[slot];
	struct panthor_fw_csg_input_iface *in = group_input(slot);

	switch (state) {
	case CSG_STATE_START:
	case CSG_STATE_RESUME:
		group->space = READ_ONCE(in->config) % SPACES;
		group->suspend_va = READ_ONCE(in->suspend_buf);
		group->protected_va = READ_ONCE(in->protm_suspend_buf);
		if (state == CSG_STATE_START)
			start(slot);
		else
			resume(slot);
		for (u32 index = 0; index < STREAMS; index++)
			stream_start(slot, index);
		check_soon();
		break;
	case CSG_STATE_SUSPEND:
		if (group_runs(slot))
			suspend(slot);
		break;
	default:
		count(GROUP_TERMINATES);
	}
	group->state = state;
	WRITE_ONCE(group_output(slot)->status_state, 0);
}

void group_request(u32 slot)
{
	struct panthor_fw_csg_input_iface *in = group_input(slot);
	struct panthor_fw_csg_output_iface *out = group_output(slot);
	u32 req = READ_ONCE(in->req);
	u32 changed = (req ^ out->ack) & CSG_REQ_MASK;
	u32 rung = READ_ONCE(in->doorbell_req) ^ out->doorbell_ack;

	for (u32 index = 0; index < STREAMS; index++) {
		struct panthor_fw_cs_output_iface *stream = stream_output(slot, index);

		if (rung & BIT(index))
			WRITE_ONCE(stream->ack, (stream->ack & ~CS_REQ_MASK) |
				   (READ_ONCE(stream_input(slot, index)->req) & CS_REQ_MASK));
	}
	WRITE_ONCE(out->doorbell_ack, out->doorbell_ack ^ rung);

	if (changed & CSG_STATE_MASK) {
		u32 state = req & CSG_STATE_MASK;

		/* A group that stops leaves protected mode; suspending it saves its state. */
		if (model.protected && model.runs == slot)
			protected_leave(state == CSG_STATE_SUSPEND);
		change_state(slot, state);
	}
	WRITE_ONCE(out->ack, (out->ack & ~CSG_REQ_MASK) | (req & CSG_REQ_MASK));
	if (changed & in->ack_irq_mask)
		raise(JOB, JOB_INT_CSG_IF(slot));
	model.groups[slot].busy = true;
}

/* Returns whether a stream in this state is idle: the host configures this for each reason. */
static bool counts_as_idle(u32 slot, u32 index, enum progress progress)
{
	u32 config = stream_output(slot, index)->ack;

	switch (progress) {
	case OFF:
		return true;
	case DRAINED:
		return config & CS_IDLE_EMPTY;
	case WAITING:
		return config & CS_IDLE_SYNC_WAIT;
	case PROTECTED:
		return config & CS_IDLE_PROTM_PENDING;
	default:
		return false;
	}
}

/* Returns whether the group has become idle. */
static bool run(u32 slot)
{
	struct panthor_fw_csg_output_iface *out = group_output(slot);
	bool busy = false, idle = true, was_idle = out->status_state & CSG_STATUS_STATE_IS_IDLE;

	model.groups[slot].ran = false;
	for (u32 index = 0; index < STREAMS; index++) {
		enum progress progress = stream_run(slot, index, false);

		busy |= progress == BUSY || progress == WAITING || progress == STARVED;
		idle &= counts_as_idle(slot, index, progress);
	}
	model.groups[slot].busy = busy;
	WRITE_ONCE(out->status_state, idle ? CSG_STATUS_STATE_IS_IDLE : 0);
	/* A group that has run a complete job meanwhile was not idle either. */
	idle &= !was_idle || model.groups[slot].ran;
	if (idle)
		group_event(slot, CSG_IDLE);
	return idle;
}

void groups_run(void)
{
	bool rests = false, idle = true;

	for (u32 slot = 0; slot < GROUPS; slot++) {
		if (!group_runs(slot))
			continue;
		if (model.groups[slot].busy)
			rests |= run(slot);
		idle &= group_output(slot)->status_state & CSG_STATUS_STATE_IS_IDLE;
	}
	if (rests && idle)
		global_event(GLB_IDLE);
}
