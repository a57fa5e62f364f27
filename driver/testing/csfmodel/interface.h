/* SPDX-License-Identifier: GPL-2.0 */
/* Interfaces of the firmware and the host, in the shared section. */
#ifndef CSFMODEL_INTERFACE_H
#define CSFMODEL_INTERFACE_H

#include "model.h"

bool interfaces_locate(void);
bool interfaces_are_mapped(void);
void interfaces_reset(void);
u64 *halt_mark(void);

struct panthor_fw_global_input_iface *global_input(void);
struct panthor_fw_global_output_iface *global_output(void);
struct panthor_fw_csg_input_iface *group_input(u32 slot);
struct panthor_fw_csg_output_iface *group_output(u32 slot);
struct panthor_fw_cs_input_iface *stream_input(u32 slot, u32 index);
struct panthor_fw_cs_output_iface *stream_output(u32 slot, u32 index);

u32 group_priority(u32 slot);

void global_event(u32 bit);
void group_event(u32 slot, u32 bit);
void stream_event(u32 slot, u32 index, u32 bit);

#endif
