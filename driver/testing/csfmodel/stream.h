/* SPDX-License-Identifier: GPL-2.0 */
/* Command streams: rings of instructions, and the buffers that they call. */
#ifndef CSFMODEL_STREAM_H
#define CSFMODEL_STREAM_H

#include "context.h"

void stream_start(u32 slot, u32 index);
enum progress stream_run(u32 slot, u32 index, bool secure);

#endif
