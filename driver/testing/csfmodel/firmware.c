// SPDX-License-Identifier: GPL-2.0
/* Firmware as seen by the host: boot, interfaces in the shared section, global requests. */

#include "complaint.h"
#include "csfmodel.h"
#include "interrupt.h"

/* Offsets of the interfaces in the shared section. panthor requires those of the first two. */
#define GROUP_CONTROL(slot)		(0x1000 + (slot) * 0x100)
#define STREAM_CONTROL(slot, index)	(GROUP_CONTROL(slot) + 0x40 + (index) * 0xc)
#define GLOBAL_INPUT			0x2000
#define GLOBAL_OUTPUT			0x2800
#define GROUP_INPUT(slot)		(0x3000 + (slot) * 0x1000)
#define GROUP_OUTPUT(slot)		(GROUP_INPUT(slot) + 0x200)
#define STREAM_INPUT(slot, index)	(GROUP_INPUT(slot) + 0x400 + (index) * 0x180)
#define STREAM_OUTPUT(slot, index)	(STREAM_INPUT(slot, index) + 0x80)
/* Written when the firmware halts, and found again unless the driver has reloaded the firmware. */
#define HALTED				0xf00
#define HALTED_MAGIC			0x48414c544544ULL

#define VERSION				0x01010000	/* 1.1.0 */
/* 96 registers, encoded as 95, and 8 scoreboards. */
#define STREAM_FEATURES			(95 | 8 << 8 | CS_FEATURES_COMPUTE | \
					 CS_FEATURES_FRAGMENT | CS_FEATURES_TILER)

static void *shared(u32 offset)
{
	return model.shared[offset / PAGE_SIZE] + offset % PAGE_SIZE;
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

/* The page tables do not show where the section ends: buffers may follow it. */
static bool locate_shared(void)
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

static bool shared_is_there(void)
{
	u64 address;

	return mmu_translate(0, SHARED_VA, &address) && pfn_is_map_memory(PHYS_PFN(address)) &&
	       phys_to_virt(address) == model.shared[0];
}

static void locate_section(void)
{
	bool moved = false;

	model.section_pages = 0;
	for (u32 i = 0; i < SECTION_PAGES; i++) {
		u64 address;

		if (!mmu_translate(0, SECTION_VA + i * PAGE_SIZE, &address))
			address = 0;
		moved |= model.section[i] && model.section[i] != address;
		model.section[i] = address;
		model.section_pages += !!address;
	}
	model.section_where = mmu_where(0, SECTION_VA, SECTION_BYTES, NULL);
	if (moved)
		count(SECTION_MOVED);
	if (model.section_where == ORDINARY)
		complain("the protected section is not entirely in the carve-out");
}

static void write_interfaces(void)
{
	struct panthor_fw_global_control_iface *global = shared(0);
	struct panthor_fw_csg_control_iface *group;
	struct panthor_fw_cs_control_iface *stream;

	for (u32 i = 0; i < ARRAY_SIZE(model.shared); i++)
		memset(model.shared[i], 0, PAGE_SIZE);
	global->version = VERSION;
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

/* The driver restarts the MCU by writing the same value: detect it as a change of this one. */
static void fail(void)
{
	set(MCU_CONTROL_BASE + MCU_CONTROL, MCU_CONTROL_FAILED);
	set(MCU_CONTROL_BASE + MCU_STATUS, MCU_STATUS_FATAL);
}

void firmware_boot(void)
{
	bool resumed;
	u64 *halted;

	if (model.boot_fails || !(get(L2_READY) & 1) || !locate_shared()) {
		model.boot_fails = false;
		fail();
		return;
	}
	model.report_at = 0;
	halted = shared(HALTED);
	resumed = model.halted && *halted == HALTED_MAGIC;
	locate_section();
	if (resumed) {
		count(RESUMES);
		*halted = 0;
	} else {
		count(BOOTS);
		model.booted_at = ktime_to_us(ktime_get());
		model.hung = false;
		memset(model.groups, 0, sizeof(model.groups));
		write_interfaces();
		/* Only at a full boot: firmware that resumes from a halt keeps its state. */
		model.prepared = model.section_where != NOWHERE;
		check_soon();
		if (boot_interrupt_ms)
			model.report_at = model.booted_at + boot_interrupt_ms * USEC_PER_MSEC;
	}
	model.halted = false;
	model.up = true;
	set(MCU_CONTROL_BASE + MCU_STATUS, MCU_STATUS_ENABLED);
	if (!model.report_at)
		raise(JOB, JOB_INT_GLOBAL_IF);
}

/* @lost: the firmware cannot resume from its current state */
void firmware_stop(bool lost)
{
	protected_forget();
	model.up = false;
	if (lost)
		model.halted = false;
}

static void halt(void)
{
	u64 *halted = shared(HALTED);

	if (model.halt_fails) {
		model.halt_fails = false;
		return;
	}
	count(HALTS);
	*halted = HALTED_MAGIC;
	model.up = false;
	model.halted = true;
	set(MCU_CONTROL_BASE + MCU_STATUS, MCU_STATUS_HALT);
}

static void global_request(void)
{
	const u32 answered = GLB_REQ_MASK & ~GLB_HALT;
	struct panthor_fw_global_input_iface *in = global_input();
	struct panthor_fw_global_output_iface *out = global_output();
	u32 req = READ_ONCE(in->req);
	u32 changed = (req ^ out->ack) & answered;
	u32 rung = READ_ONCE(in->doorbell_req) ^ out->doorbell_ack;

	if (changed & GLB_PING || req & GLB_HALT)
		protected_leave(true);
	WRITE_ONCE(out->doorbell_ack, out->doorbell_ack ^ rung);
	for (u32 slot = 0; slot < GROUPS; slot++) {
		if (rung & BIT(slot))
			group_request(slot);
	}
	if (changed & GLB_PROTM_ENTER)
		protected_enter();
	if (changed & GLB_PING)
		count(PINGS);
	WRITE_ONCE(out->ack, (out->ack & ~answered) | (req & answered));
	if (changed & in->ack_irq_mask)
		raise(JOB, JOB_INT_GLOBAL_IF);
	if (req & GLB_HALT)
		halt();
}

/* A doorbell can be shared: it wakes every stream that is configured for it. */
static void stream_doorbell(u32 doorbell)
{
	for (u32 slot = 0; slot < GROUPS; slot++) {
		for (u32 index = 0; group_runs(slot) && index < STREAMS; index++) {
			u32 config = READ_ONCE(stream_input(slot, index)->config);

			if ((config & CS_CONFIG_DOORBELL(~0U)) == CS_CONFIG_DOORBELL(doorbell))
				model.groups[slot].busy = true;
		}
	}
}

void firmware_tick(void)
{
	if (!model.up || model.hung || (model.protected && model.protected_dead))
		return;
	if (!shared_is_there()) {
		complain("the memory of the firmware was unmapped while it ran");
		firmware_stop(true);
		fail();
		return;
	}
	if (model.report_at && ktime_to_us(ktime_get()) >= model.report_at) {
		model.report_at = 0;
		raise(JOB, JOB_INT_GLOBAL_IF);
	}
	/* Clear each doorbell first: one that is rung meanwhile is handled at the next tick. */
	for (u32 i = 0; model.up && i <= GROUPS; i++) {
		if (!get(CSF_DOORBELL(i)))
			continue;
		set(CSF_DOORBELL(i), 0);
		mb(); /* clear the doorbell before reading the request */
		if (i == CSF_GLB_DOORBELL_ID)
			global_request();
		else
			stream_doorbell(i);
	}
	if (!model.up)
		return;
	if (model.protected)
		protected_tick();
	else
		groups_run();
}
