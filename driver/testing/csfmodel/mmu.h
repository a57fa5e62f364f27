/* SPDX-License-Identifier: GPL-2.0 */
/* MMU of the GPU, and the bus behind it. */
#ifndef CSFMODEL_MMU_H
#define CSFMODEL_MMU_H

#include "model.h"

typedef bool (*mmu_visit)(void *context, u32 space, u64 va, u64 address, u64 bytes, u64 attributes);

bool mmu_translate(u32 space, u64 va, u64 *address);
bool mmu_walk(u32 space, mmu_visit visit, void *context);
void *mmu_memory(u32 space, u64 va, bool secure);
bool mmu_copy(u32 space, u64 va, void *buffer, size_t bytes, bool write, bool secure);
enum where mmu_where(u32 space, u64 va, u64 bytes, u64 *mapped);
void mmu_fault(u32 space, u64 va, u32 access);
void mmu_hold(bool hold);
void mmu_tick(void);
void mmu_reset(void);
bool mmu_map_twice(u32 space, u64 va);

#endif
