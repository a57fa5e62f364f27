// SPDX-License-Identifier: GPL-2.0
/*
 * The instructions that panthor and the tests use.
 *
 * Opcodes and fields are those of the v10 description of Mesa's Panfrost driver (genxml). It is an
 * assumption which instructions are skipped after a fault, and that a region contains no calls.
 */

#include "context.h"
#include "instruction.h"
#include "interface.h"
#include "model.h"

/* Bits 63 to 56 of an instruction. All other opcodes do nothing. */
enum opcode {
	MOVE48 = 1,
	MOVE32 = 2,
	RUN_TILING = 5,
	STORE_MULTIPLE = 21,
	CALL = 32,
	PROT_REGION = 41,
	ERROR_BARRIER = 47,
	HEAP_SET = 48,
	SYNC_ADD64 = 51,
	SYNC_SET64 = 52,
	SYNC_WAIT64 = 53,
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

static void store(struct context *context)
{
	u64 va = pair(context, 40) + (s16)context->instruction;

	for (u32 i = 0; i < 16 && !context->stream->faulted; i++) {
		u8 source = field(context, 48) + i;
		u32 *word;

		if (!(context->instruction & BIT_ULL(16 + i)))
			continue;
		word = stream_memory(context, va + sizeof(*word) * i, sizeof(*word),
				     AS_FAULTSTATUS_ACCESS_TYPE_WRITE);
		if (!word)
			return;
		WRITE_ONCE(*word, context->stream->registers[source]);
	}
}

static void synchronise(struct context *context, enum opcode opcode)
{
	u64 va = pair(context, 40), value = pair(context, 32);
	/* A synchronisation object: a value, followed by an error flag. */
	u64 *object = stream_memory(context, va, sizeof(*object),
				    AS_FAULTSTATUS_ACCESS_TYPE_ATOMIC);

	if (!object)
		return;
	count(SYNCS);
	WRITE_ONCE(object[0], opcode == SYNC_ADD64 ? object[0] + value : value);
	if (context->stream->faulted && IS_ALIGNED((uintptr_t)object, 2 * sizeof(*object)))
		WRITE_ONCE(object[1], 1);
	group_event(context->slot, CSG_SYNC_UPDATE);
}

/* Returns whether the stream has to wait, and reports this to the host. */
static bool waits(struct context *context)
{
	struct panthor_fw_cs_output_iface *out = stream_output(context->slot, context->index);
	u64 va = pair(context, 40), reference = pair(context, 32), value;
	u64 *object = stream_memory(context, va, sizeof(*object), AS_FAULTSTATUS_ACCESS_TYPE_READ);
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

static void call(struct context *context)
{
	struct stream *stream = context->stream;
	u64 va = pair(context, 40), bytes = stream->registers[field(context, 32)];

	if (!bytes || stream->depth == CALLS || context->secure) {
		if (bytes)
			stream_fault(context, DRM_PANTHOR_EXCEPTION_CS_CALL_STACK_OVERFLOW, va);
		stream_advance(context);
		return;
	}
	/* The caller continues after the call; the ring advances when the call returns. */
	if (stream->depth)
		stream->calls[stream->depth - 1].at += sizeof(u64);
	stream->calls[stream->depth++] = (struct call){ .at = va, .end = va + bytes };
}

/* Runs one instruction. Returns BUSY if there may be more. */
enum progress instruction_run(struct context *context)
{
	struct stream *stream = context->stream;
	enum opcode opcode = field(context, 56);
	u8 destination = field(context, 48), next = destination + 1;
	bool propagates = context->instruction & BIT_ULL(0);

	context->group->ran = true;
	switch (opcode) {
	case MOVE48:
		stream->registers[next] = (context->instruction >> 32) & GENMASK(15, 0);
		fallthrough;
	case MOVE32:
		stream->registers[destination] = lower_32_bits(context->instruction);
		break;
	case HEAP_SET:
		stream->heap = pair(context, 40);
		break;
	case RUN_TILING:
		if (!stream->faulted && stream_waits_for_heap(context))
			return STARVED;
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
		if (stream_waits_for_protection(context))
			return PROTECTED;
		/* The number of instructions that follow, plus this one. */
		stream->region = (context->instruction & GENMASK(15, 0)) + 1;
		break;
	case ERROR_BARRIER:
		stream->faulted = false;
		if (!stream->depth)
			count(JOBS);
		break;
	}
	if (stream->dead)
		return STALLED;
	if (stream->region && !--stream->region)
		stream_ends_region(stream);
	stream_advance(context);
	return BUSY;
}
