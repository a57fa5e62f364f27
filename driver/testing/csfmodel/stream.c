// SPDX-License-Identifier: GPL-2.0
/* Command streams: rings of instructions, and the buffers that they call. */

#include "context.h"
#include "instruction.h"
#include "interface.h"
#include "mmu.h"
#include "model.h"
#include "stream.h"

/* Maximum number of instructions that a stream runs in one tick. */
#define BUDGET	64

/* Reads the next instruction. Returns BUSY if there is one. */
static enum progress fetch(struct context *context, const struct panthor_fw_cs_input_iface *in,
			   u64 insert)
{
	struct stream *stream = context->stream;
	u64 extract = context->ring->extract;
	u64 *instruction, va;

	if (!stream->depth && extract == insert)
		return DRAINED;
	if (stream->depth)
		va = stream->calls[stream->depth - 1].at;
	else
		va = in->ringbuf_base + (extract & (in->ringbuf_size - 1));
	instruction = stream_memory(context, va, sizeof(u64), AS_FAULTSTATUS_ACCESS_TYPE_EX);
	if (!instruction) {
		stream->dead = true;
		return STALLED;
	}
	context->instruction = READ_ONCE(*instruction);
	return BUSY;
}

static void unblock(struct panthor_fw_cs_output_iface *out)
{
	out->status_wait = 0;
	WRITE_ONCE(out->status_blocked_reason, CS_STATUS_BLOCKED_REASON_UNBLOCKED);
}

/* Runs a stream. @secure: only its protected regions. */
enum progress stream_run(u32 slot, u32 index, bool secure)
{
	struct panthor_fw_cs_input_iface *in = stream_input(slot, index);
	struct panthor_fw_cs_output_iface *out = stream_output(slot, index);
	struct stream *stream = &model.groups[slot].streams[index];
	struct panthor_fw_ringbuf_input_iface *ring;
	struct context context = {
		.slot = slot, .index = index, .secure = secure,
		.group = &model.groups[slot], .stream = stream,
	};
	enum progress progress = BUSY;

	if ((out->ack & CS_STATE_MASK) != CS_STATE_START || !in->ringbuf_size)
		return OFF;
	/* A fault stops the stream until the host has acknowledged it. */
	if (stream->dead || (READ_ONCE(in->req) ^ out->ack) & CS_FAULT)
		return STALLED;
	ring = mmu_memory(0, in->ringbuf_input, false);
	context.ring = mmu_memory(0, in->ringbuf_output, false);
	if (IS_ERR(ring) || IS_ERR(context.ring))
		return STALLED;
	if (stream->region && !secure) {
		stream_waits_for_protection(&context);
		return PROTECTED;
	}

	unblock(out);
	for (u32 i = 0; i < BUDGET && progress == BUSY; i++) {
		if (secure && !stream->wants)
			return PROTECTED;
		progress = fetch(&context, in, READ_ONCE(ring->insert));
		if (progress == BUSY)
			progress = instruction_run(&context);
		if (stream->faulted && (READ_ONCE(in->req) ^ out->ack) & CS_FAULT)
			progress = STALLED;
	}
	return progress;
}

/* The group was started or resumed: the host sets the position in the ring. */
void stream_start(u32 slot, u32 index)
{
	struct panthor_fw_cs_input_iface *in = stream_input(slot, index);
	struct panthor_fw_cs_output_iface *out = stream_output(slot, index);
	struct panthor_fw_ringbuf_output_iface *output;
	struct panthor_fw_ringbuf_input_iface *input;

	unblock(out);
	if ((out->ack & CS_STATE_MASK) != CS_STATE_START || !in->ringbuf_size)
		return;
	input = mmu_memory(0, in->ringbuf_input, false);
	output = mmu_memory(0, in->ringbuf_output, false);
	if (!IS_ERR(input) && !IS_ERR(output))
		WRITE_ONCE(output->extract, READ_ONCE(input->extract));
}
