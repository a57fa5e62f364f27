// SPDX-License-Identifier: GPL-2.0
/* Command streams: rings of instructions, and what they call. */

#include "csfmodel.h"

/* Instructions that a stream runs in one tick, at most. */
#define BUDGET	64

/* The host sees it, and lets the stream go on. */
void stream_fault(struct context *context, u32 exception, u64 va)
{
	struct panthor_fw_cs_output_iface *out = stream_output(context->slot, context->index);

	count(FAULTS);
	context->stream->faulted = true;
	/* What a region would still write, it will not. */
	context->stream->region = 0;
	context->stream->wants = false;
	WRITE_ONCE(out->fault, exception);
	WRITE_ONCE(out->fault_info, va);
	stream_event(context->slot, context->index, CS_FAULT);
}

/* Memory for an instruction; where there is none for it, the stream has faulted. */
void *stream_memory(struct context *context, u64 va, u32 alignment, u32 access)
{
	void *memory;

	if (va % alignment) {
		stream_fault(context, DRM_PANTHOR_EXCEPTION_ADDR_RANGE_FAULT, va);
		return NULL;
	}
	memory = mmu_memory(context->group->space, va, context->secure);
	if (PTR_ERR(memory) == -EACCES) {
		stream_fault(context, DRM_PANTHOR_EXCEPTION_CS_BUS_FAULT, va);
		return NULL;
	}
	if (IS_ERR(memory)) {
		context->stream->dead = true;
		mmu_fault(context->group->space, va, access);
		return NULL;
	}
	return memory;
}

/* Whether the stream has to wait for protected mode, which it asks for once. */
bool stream_waits_for_protection(struct context *context)
{
	struct panthor_fw_cs_output_iface *out = stream_output(context->slot, context->index);
	struct stream *stream = context->stream;

	stream->wants = true;
	if (context->secure)
		return false;
	if (!stream->asked) {
		stream->asked = true;
		count(PROTECTED_REQUESTS);
		WRITE_ONCE(out->status_wait, CS_STATUS_WAIT_PROTM);
		stream_event(context->slot, context->index, CS_PROTM_PENDING);
	}
	return true;
}

void stream_advance(struct context *context)
{
	struct stream *stream = context->stream;

	if (stream->depth)
		stream->calls[stream->depth - 1].at += sizeof(u64);
	else
		context->ring->extract += sizeof(u64);
	while (stream->depth) {
		struct call *call = &stream->calls[stream->depth - 1];

		if (call->at < call->end)
			break;
		/* Only now the ring is past the CALL, as the host can see. */
		if (!--stream->depth)
			context->ring->extract += sizeof(u64);
	}
}

/* Finds the instruction that is next. BUSY: here it is. */
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

/* Runs a stream, secure: only what it has to run in protected mode. */
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
	/* A fault, too, holds it until the host has seen it. */
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

/* The group of a stream was started or resumed: the host says where in the ring it begins. */
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
