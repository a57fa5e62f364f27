// SPDX-License-Identifier: GPL-2.0
/* Firmware as seen by the host: boot, halt, global requests and doorbells. */

#include "check.h"
#include "complaint.h"
#include "firmware.h"
#include "group.h"
#include "interface.h"
#include "interrupt.h"
#include "mmu.h"
#include "model.h"
#include "protected.h"

/* Written when the firmware halts, and found again unless the driver has reloaded the firmware. */
#define HALTED_MAGIC		0x48414c544544ULL
/* Value of MCU_CONTROL after a failed boot: no driver writes it. */
#define MCU_CONTROL_FAILED	0xff

static bool has_state(void)
{
	return interface_version >= GLOBAL_STATE;
}

static bool is_halt(u32 req)
{
	return has_state() ? GLB_STATE_GET(req) == GLB_STATE_HALT : req & GLB_HALT;
}

/* Requests that the firmware acknowledges at once. */
static u32 answered(void)
{
	u32 requests = GLB_REQ_MASK & ~(GLB_HALT | GLB_PROTM_ENTER);

	return has_state() ? requests | GLB_STATE_MASK : requests;
}

static void acknowledge(void)
{
	struct panthor_fw_global_output_iface *out = global_output();

	WRITE_ONCE(out->ack, (out->ack & ~answered()) |
		   (READ_ONCE(global_input()->req) & answered()));
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

	if (model.boot_fails || !(get(L2_READY) & 1) || !interfaces_locate()) {
		model.boot_fails = false;
		fail();
		return;
	}
	model.report_at = 0;
	halted = halt_mark();
	resumed = model.halted && *halted == HALTED_MAGIC;
	locate_section();
	if (resumed) {
		count(RESUMES);
		*halted = 0;
		/* The host has requested the active state before. */
		acknowledge();
	} else {
		count(BOOTS);
		model.booted_at = ktime_to_us(ktime_get());
		model.hung = false;
		memset(model.groups, 0, sizeof(model.groups));
		interfaces_reset();
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
	u64 *halted = halt_mark();

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
	struct panthor_fw_global_input_iface *in = global_input();
	struct panthor_fw_global_output_iface *out = global_output();
	u32 req = READ_ONCE(in->req);
	u32 changed = (req ^ out->ack) & answered();
	u32 rung = READ_ONCE(in->doorbell_req) ^ out->doorbell_ack;

	if (changed & GLB_PING && model.protected)
		count(PROTECTED_PINGS);
	if (changed & GLB_PING || is_halt(req))
		protected_leave(true);
	WRITE_ONCE(out->doorbell_ack, out->doorbell_ack ^ rung);
	for (u32 slot = 0; slot < GROUPS; slot++) {
		if (rung & BIT(slot))
			group_request(slot);
	}
	if ((req ^ out->ack) & GLB_PROTM_ENTER)
		protected_request();
	if (changed & GLB_PING)
		count(PINGS);
	acknowledge();
	if (changed & in->ack_irq_mask)
		raise(JOB, JOB_INT_GLOBAL_IF);
	if (is_halt(req))
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
	if (!interfaces_are_mapped()) {
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
	protected_enter_tick();
	if (model.protected)
		protected_tick();
	else
		groups_run();
}
