// SPDX-License-Identifier: GPL-2.0
/* Interfaces of the firmware and the host in the shared section: layout, access and events. */

#include "interface.h"
#include "interrupt.h"
#include "mmu.h"
#include "model.h"

/* Offsets of the interfaces in the shared section. panthor requires those of the first two. */
#define GROUP_CONTROL(slot)		(0x1000 + (slot) * 0x100)
#define STREAM_CONTROL(slot, index)	(GROUP_CONTROL(slot) + 0x40 + (index) * 0xc)
#define GLOBAL_INPUT			0x2000
#define GLOBAL_OUTPUT			0x2800
#define GROUP_INPUT(slot)		(0x3000 + (slot) * 0x1000)
#define GROUP_OUTPUT(slot)		(GROUP_INPUT(slot) + 0x200)
#define STREAM_INPUT(slot, index)	(GROUP_INPUT(slot) + 0x400 + (index) * 0x180)
#define STREAM_OUTPUT(slot, index)	(STREAM_INPUT(slot, index) + 0x80)
/* Word in which the firmware marks that it has halted. */
#define HALTED				0xf00

/* 96 registers, encoded as 95, and 8 scoreboards. */
#define STREAM_FEATURES			(95 | 8 << 8 | CS_FEATURES_COMPUTE | \
					 CS_FEATURES_FRAGMENT | CS_FEATURES_TILER)

static void *shared(u32 offset)
{
	return model.shared[offset / PAGE_SIZE] + offset % PAGE_SIZE;
}

/* The page tables do not show where the section ends: buffers may follow it. */
bool interfaces_locate(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(model.shared); i++) {
		u64 address;

		if (!mmu_translate(0, SHARED_VA + i * PAGE_SIZE, &address) ||
		    !pfn_is_map_memory(PHYS_PFN(address)))
			return false;
		model.shared[i] = phys_to_virt(address);
	}
	return true;
}

/* Returns whether the interfaces are still mapped to the memory that interfaces_locate() found. */
bool interfaces_are_mapped(void)
{
	u64 address;

	return mmu_translate(0, SHARED_VA, &address) && pfn_is_map_memory(PHYS_PFN(address)) &&
	       phys_to_virt(address) == model.shared[0];
}

/* Clears the shared section, and describes the interfaces to the host. */
void interfaces_reset(void)
{
	struct panthor_fw_global_control_iface *global = shared(0);
	struct panthor_fw_csg_control_iface *group;
	struct panthor_fw_cs_control_iface *stream;

	for (u32 i = 0; i < ARRAY_SIZE(model.shared); i++)
		memset(model.shared[i], 0, PAGE_SIZE);
	global->version = interface_version;
	global->input_va = SHARED_VA + GLOBAL_INPUT;
	global->output_va = SHARED_VA + GLOBAL_OUTPUT;
	global->group_num = GROUPS;
	global->group_stride = GROUP_CONTROL(1) - GROUP_CONTROL(0);
	for (u32 slot = 0; slot < GROUPS; slot++) {
		group = shared(GROUP_CONTROL(slot));
		group->input_va = SHARED_VA + GROUP_INPUT(slot);
		group->output_va = SHARED_VA + GROUP_OUTPUT(slot);
		group->suspend_size = suspend_bytes;
		group->protm_suspend_size = protected_suspend_bytes;
		group->stream_num = STREAMS;
		group->stream_stride = STREAM_CONTROL(0, 1) - STREAM_CONTROL(0, 0);
		for (u32 index = 0; index < STREAMS; index++) {
			stream = shared(STREAM_CONTROL(slot, index));
			stream->features = STREAM_FEATURES;
			stream->input_va = SHARED_VA + STREAM_INPUT(slot, index);
			stream->output_va = SHARED_VA + STREAM_OUTPUT(slot, index);
		}
	}
}

u64 *halt_mark(void)
{
	return shared(HALTED);
}

struct panthor_fw_global_input_iface *global_input(void)
{
	return shared(GLOBAL_INPUT);
}

struct panthor_fw_global_output_iface *global_output(void)
{
	return shared(GLOBAL_OUTPUT);
}

struct panthor_fw_csg_input_iface *group_input(u32 slot)
{
	return shared(GROUP_INPUT(slot));
}

struct panthor_fw_csg_output_iface *group_output(u32 slot)
{
	return shared(GROUP_OUTPUT(slot));
}

struct panthor_fw_cs_input_iface *stream_input(u32 slot, u32 index)
{
	return shared(STREAM_INPUT(slot, index));
}

struct panthor_fw_cs_output_iface *stream_output(u32 slot, u32 index)
{
	return shared(STREAM_OUTPUT(slot, index));
}

/* Higher values run first. */
u32 group_priority(u32 slot)
{
	struct panthor_fw_csg_input_iface *in = group_input(slot);

	return CSG_EP_REQ_PRIORITY_GET(interface_version >= WIDE_ENDPOINTS ?
				       READ_ONCE(in->endpoint_req2) : READ_ONCE(in->endpoint_req));
}

/* An event is pending while request and acknowledgment differ; the host makes them equal. */
static u32 pending(u32 ack, u32 req, u32 bit)
{
	return (ack & ~bit) | (~req & bit);
}

void global_event(u32 bit)
{
	struct panthor_fw_global_output_iface *out = global_output();

	WRITE_ONCE(out->ack, pending(out->ack, READ_ONCE(global_input()->req), bit));
	raise(JOB, JOB_INT_GLOBAL_IF);
}

void group_event(u32 slot, u32 bit)
{
	struct panthor_fw_csg_output_iface *out = group_output(slot);

	WRITE_ONCE(out->ack, pending(out->ack, READ_ONCE(group_input(slot)->req), bit));
	raise(JOB, JOB_INT_CSG_IF(slot));
}

void stream_event(u32 slot, u32 index, u32 bit)
{
	struct panthor_fw_cs_output_iface *out = stream_output(slot, index);
	struct panthor_fw_csg_output_iface *group = group_output(slot);
	u32 acknowledged;

	WRITE_ONCE(out->ack, pending(out->ack, READ_ONCE(stream_input(slot, index)->req), bit));
	mb(); /* the host acknowledges before it reads, so read after writing */
	acknowledged = READ_ONCE(group_input(slot)->cs_irq_ack);
	WRITE_ONCE(group->cs_irq_req, pending(group->cs_irq_req, acknowledged, BIT(index)));
	raise(JOB, JOB_INT_CSG_IF(slot));
}
