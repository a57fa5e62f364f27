/* SPDX-License-Identifier: GPL-2.0 */
/* Context in which an instruction of a stream runs. */
#ifndef CSFMODEL_CONTEXT_H
#define CSFMODEL_CONTEXT_H

#include "model.h"

/* Why a stream stopped. */
enum progress { OFF, DRAINED, BUSY, WAITING, PROTECTED, STARVED, STALLED };

/* A stream and its next instruction. */
struct context {
	u32 slot;
	u32 index;
	bool secure;	/* in protected mode */
	struct group *group;
	struct stream *stream;
	struct panthor_fw_ringbuf_output_iface *ring;
	u64 instruction;
};

void stream_fault(struct context *context, u32 exception, u64 va);
void *stream_memory(struct context *context, u64 va, u32 alignment, u32 access);
void stream_advance(struct context *context);
bool stream_waits_for_protection(struct context *context);
bool stream_waits_for_heap(struct context *context);
void stream_ends_region(struct stream *stream);

#endif
