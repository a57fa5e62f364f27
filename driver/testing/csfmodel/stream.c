// SPDX-License-Identifier: GPL-2.0
/*
 * Command streams: rings of instructions, and the few instructions that panthor and the tests use.
 *
 * Opcodes and fields are those of the v10 description of Mesa's Panfrost driver (genxml), but for the size of
 * a PROT_REGION: there it counts instructions, here bytes. Which instructions a fault skips is an assumption.
 */

#include "csfmodel.h"

/* Bits 63 to 56 of an instruction. What is not here does nothing. */
enum opcode {
	MOVE48 = 1, MOVE32 = 2, STORE_MULTIPLE = 21, CALL = 32, PROT_REGION = 41, ERROR_BARRIER = 47,
	SYNC_ADD64 = 51, SYNC_SET64 = 52, SYNC_WAIT64 = 53
};

/* Instructions that a stream runs in one tick, at most. */
#define BUDGET	64

/* An instruction in its stream. */
struct context {
	u32 slot;
	u32 index;
	bool secure;
	struct group *group;
	struct stream *stream;
	struct panthor_fw_ringbuf_output_iface *ring;
	u64 va;
	u64 instruction;
};

static u8 field(const struct context *context, u32 shift)
{
	return context->instruction >> shift;
}

static u64 pair(const struct context *context, u32 shift)
{
	u8 first = field(context, shift), second = first + 1;

	return (u64)context->stream->registers[second] << 32 | context->stream->registers[first];
}

/* The host sees it, and lets the stream go on. */
static void fault(struct context *context, u32 exception, u64 va)
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
static void *memory(struct context *context, u64 va, u32 alignment, u32 access)
{
	void *memory;

	if (va % alignment) {
		fault(context, DRM_PANTHOR_EXCEPTION_ADDR_RANGE_FAULT, va);
		return NULL;
	}
	memory = mmu_memory(context->group->space, va, context->secure);
	if (PTR_ERR(memory) == -EACCES) {
		fault(context, DRM_PANTHOR_EXCEPTION_CS_BUS_FAULT, va);
		return NULL;
	}
	if (IS_ERR(memory)) {
		context->stream->dead = true;
		mmu_fault(context->group->space, va, access);
		return NULL;
	}
	return memory;
}

static void store(struct context *context)
{
	u64 va = pair(context, 40) + (s16)context->instruction;

	for (u32 i = 0; i < 16 && !context->stream->faulted; i++) {
		u8 source = field(context, 48) + i;
		u32 *word;

		if (!(context->instruction & BIT_ULL(16 + i)))
			continue;
		word = memory(context, va + 4 * i, sizeof(*word), AS_FAULTSTATUS_ACCESS_TYPE_WRITE);
		if (!word)
			return;
		WRITE_ONCE(*word, context->stream->registers[source]);
	}
}

static void synchronise(struct context *context, enum opcode opcode)
{
	/* A synchronisation object: a value, and behind it whether something had failed. */
	u64 *object = memory(context, pair(context, 40), sizeof(*object), AS_FAULTSTATUS_ACCESS_TYPE_ATOMIC);
	u64 value = pair(context, 32);

	if (!object)
		return;
	count(SYNCS);
	WRITE_ONCE(object[0], opcode == SYNC_ADD64 ? object[0] + value : value);
	if (context->stream->faulted && IS_ALIGNED((uintptr_t)object, 2 * sizeof(*object)))
		WRITE_ONCE(object[1], 1);
	group_event(context->slot, CSG_SYNC_UPDATE);
}

/* Whether the stream has to wait, which it then tells. */
static bool waits(struct context *context)
{
	struct panthor_fw_cs_output_iface *out = stream_output(context->slot, context->index);
	u64 va = pair(context, 40), reference = pair(context, 32), value;
	u64 *object = memory(context, va, sizeof(*object), AS_FAULTSTATUS_ACCESS_TYPE_READ);
	bool greater = context->instruction & BIT_ULL(28);

	if (!object)
		return false;
	value = READ_ONCE(*object);
	if (greater ? value > reference : value <= reference)
		return false;
	out->status_wait = CS_STATUS_WAIT_SYNC | CS_STATUS_WAIT_SYNC_64B |
			   (greater ? CS_STATUS_WAIT_SYNC_COND_GT : CS_STATUS_WAIT_SYNC_COND_LE);
	out->status_wait_sync_ptr = va;
	out->status_wait_sync_value = lower_32_bits(reference);
	out->status_wait_sync_value_hi = upper_32_bits(reference);
	WRITE_ONCE(out->status_blocked_reason, CS_STATUS_BLOCKED_REASON_SYNC_WAIT);
	return true;
}

/* Whether the stream has to wait for protected mode, which it asks for once. */
static bool waits_for_protection(struct context *context)
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

static void advance(struct context *context)
{
	struct stream *stream = context->stream;

	if (stream->depth)
		stream->calls[stream->depth - 1].at += sizeof(u64);
	else
		context->ring->extract += sizeof(u64);
	while (stream->depth && stream->calls[stream->depth - 1].at >= stream->calls[stream->depth - 1].end) {
		/* Only now the ring is past the CALL, as the host can see. */
		if (!--stream->depth)
			context->ring->extract += sizeof(u64);
	}
}

static void call(struct context *context)
{
	struct stream *stream = context->stream;
	u64 va = pair(context, 40), bytes = stream->registers[field(context, 32)];

	if (!bytes || stream->depth == CALLS || context->secure) {
		if (bytes)
			fault(context, DRM_PANTHOR_EXCEPTION_CS_CALL_STACK_OVERFLOW, va);
		advance(context);
		return;
	}
	/* The caller goes on behind it; the ring is moved when the call has returned. */
	if (stream->depth)
		stream->calls[stream->depth - 1].at += sizeof(u64);
	stream->calls[stream->depth++] = (struct call){ .at = va, .end = va + bytes };
}

/* Runs one instruction. BUSY: there may be more. */
static enum progress execute(struct context *context)
{
	struct stream *stream = context->stream;
	enum opcode opcode = field(context, 56);
	u8 destination = field(context, 48);
	bool propagates = context->instruction & BIT_ULL(0);

	context->group->ran = true;
	switch (opcode) {
	case MOVE48:
		stream->registers[(u8)(destination + 1)] = (context->instruction >> 32) & GENMASK(15, 0);
		fallthrough;
	case MOVE32:
		stream->registers[destination] = lower_32_bits(context->instruction);
		break;
	case STORE_MULTIPLE:
		if (!stream->faulted)
			store(context);
		break;
	case SYNC_ADD64:
	case SYNC_SET64:
		if (!stream->faulted || propagates)
			synchronise(context, opcode);
		break;
	case SYNC_WAIT64:
		if (!stream->faulted && waits(context))
			return WAITING;
		break;
	case CALL:
		call(context);
		return BUSY;
	case PROT_REGION:
		if (stream->faulted)
			break;
		if (waits_for_protection(context))
			return PROTECTED;
		stream->region = (context->instruction & GENMASK(15, 0)) + sizeof(u64);
		break;
	case ERROR_BARRIER:
		stream->faulted = false;
		if (!stream->depth)
			count(JOBS);
		break;
	}
	if (stream->dead)
		return STALLED;
	if (stream->region) {
		stream->region -= min(stream->region, sizeof(u64));
		stream->wants = stream->region;
	}
	advance(context);
	return BUSY;
}

/* Finds the instruction that is next. BUSY: here it is. */
static enum progress fetch(struct context *context, const struct panthor_fw_cs_input_iface *in, u64 insert)
{
	struct stream *stream = context->stream;
	u64 *instruction;

	if (stream->depth)
		context->va = stream->calls[stream->depth - 1].at;
	else if (context->ring->extract == insert)
		return EMPTY;
	else
		context->va = in->ringbuf_base + (context->ring->extract & (in->ringbuf_size - 1));
	instruction = memory(context, context->va, sizeof(u64), AS_FAULTSTATUS_ACCESS_TYPE_EX);
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
	if (stream->region && !secure)
		return waits_for_protection(&context) ? PROTECTED : STALLED;

	unblock(out);
	for (u32 i = 0; i < BUDGET && progress == BUSY; i++) {
		if (secure && !stream->wants)
			return PROTECTED;
		progress = fetch(&context, in, READ_ONCE(ring->insert));
		if (progress == BUSY)
			progress = execute(&context);
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
