// SPDX-License-Identifier: GPL-2.0
/* Effects of an instruction on its stream: memory accesses, faults, and the next position. */

#include "complaint.h"
#include "context.h"
#include "interface.h"
#include "mmu.h"
#include "model.h"

void stream_ends_region(struct stream *stream)
{
	stream->region = 0;
	stream->wants = false;
	stream->asked = false;
	stream->granted = false;
}

/* Reports a fault to the host, which then lets the stream continue. */
void stream_fault(struct context *context, u32 exception, u64 va)
{
	struct panthor_fw_cs_output_iface *out = stream_output(context->slot, context->index);

	count(FAULTS);
	context->stream->faulted = true;
	/* The rest of a protected region is skipped. */
	stream_ends_region(context->stream);
	WRITE_ONCE(out->fault, exception);
	WRITE_ONCE(out->fault_info, va);
	stream_event(context->slot, context->index, CS_FAULT);
}

/* Returns the memory that an instruction accesses. If it is not accessible, the stream faults. */
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

/* Returns whether the stream has to wait for protected mode, and requests it once. */
bool stream_waits_for_protection(struct context *context)
{
	struct panthor_fw_cs_output_iface *out = stream_output(context->slot, context->index);
	struct stream *stream = context->stream;

	stream->wants = true;
	if (context->secure)
		return false;
	WRITE_ONCE(out->status_wait, CS_STATUS_WAIT_PROTM);
	if (!stream->asked) {
		stream->asked = true;
		count(PROTECTED_REQUESTS);
		stream_event(context->slot, context->index, CS_PROTM_PENDING);
	}
	return true;
}

static void heap_answered(struct context *context)
{
	u64 chunk = READ_ONCE(stream_input(context->slot, context->index)->heap_start) & PAGE_MASK;

	if (!chunk) {
		stream_fault(context, DRM_PANTHOR_EXCEPTION_OOM, context->stream->heap);
	} else if (IS_ERR(mmu_memory(context->group->space, chunk, false))) {
		complain("slot %u: the chunk of its heap at %llx is not mapped", context->slot,
			 chunk);
	} else {
		count(HEAP_CHUNKS);
		if (model.entering)
			count(HEAP_CHUNKS_ENTERING);
	}
}

/*
 * Returns whether the stream has to wait for memory of its tiler heap, and requests it once. Each
 * job of the tiler takes one chunk, and none is ever free.
 */
bool stream_waits_for_heap(struct context *context)
{
	struct panthor_fw_cs_output_iface *out = stream_output(context->slot, context->index);
	struct panthor_fw_cs_input_iface *in = stream_input(context->slot, context->index);
	struct stream *stream = context->stream;

	if (!stream->starved) {
		stream->starved = true;
		count(HEAP_REQUESTS);
		out->heap_address = stream->heap;
		/* One job has started, none has ended. */
		out->heap_vt_start = 1;
		out->heap_vt_end = 0;
		out->heap_frag_end = 0;
		stream_event(context->slot, context->index, CS_TILER_OOM);
		return true;
	}
	if ((READ_ONCE(in->req) ^ out->ack) & CS_TILER_OOM)
		return true;
	stream->starved = false;
	heap_answered(context);
	return false;
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
		/* The host sees the ring advance past the CALL only when the call returns. */
		if (!--stream->depth)
			context->ring->extract += sizeof(u64);
	}
}
