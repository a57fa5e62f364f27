// SPDX-License-Identifier: GPL-2.0
/* Registers of the GPU: identification, commands, power, and control of the MCU. */

#include "firmware.h"
#include "interrupt.h"
#include "mmu.h"
#include "model.h"
#include "registers.h"

/* Commands in the low byte of GPU_CMD, as panthor_gpu_regs.h builds them. */
#define COMMAND(value)	((value) & 0xff)
#define RESET		COMMAND(GPU_SOFT_RESET)
#define FLUSH_CACHES	COMMAND(GPU_FLUSH_CACHES(0, 0, 0))

/*
 * Properties of the GPU. Only those that panthor and its users depend on have to be correct: 40-bit
 * physical and 48-bit virtual addresses, ACE-Lite, the address spaces, and the power domains.
 */
void registers_begin(void)
{
	memset_io(model.registers, 0, model.bytes);
	set(GPU_ID, model.gpu_id);
	set(GPU_L2_FEATURES, 0x07120306);
	set(GPU_TILER_FEATURES, 0x809);
	set(GPU_MEM_FEATURES, GROUPS_L2_COHERENT);
	set(GPU_MMU_FEATURES, 40 << 8 | 48);
	set(GPU_AS_PRESENT, GENMASK(SPACES - 1, 0));
	set(GPU_THREAD_MAX_THREADS, 2048);
	set(GPU_THREAD_MAX_WORKGROUP_SIZE, 1024);
	set(GPU_THREAD_MAX_BARRIER_SIZE, 1024);
	set(GPU_COHERENCY_FEATURES, GPU_COHERENCY_PROT_BIT(ACE_LITE));
	/* Since arch 11 the name of a GPU depends on these: ten cores with ray tracing. */
	if (GPU_ARCH_MAJOR(model.gpu_id) >= 11) {
		set64(GPU_FEATURES, GPU_FEATURES_RAY_INTERSECTION);
		set64(GPU_SHADER_PRESENT, GENMASK(9, 0));
	} else {
		set64(GPU_SHADER_PRESENT, GENMASK(3, 0));
	}
	set64(GPU_TILER_PRESENT, 1);
	set64(GPU_L2_PRESENT, 1);
	set(CSF_GPU_LATEST_FLUSH_ID, 1);
}

static void reset(void)
{
	count(SOFT_RESETS);
	firmware_stop(true);
	set64(L2_READY, 0);
	set64(TILER_READY, 0);
	set64(SHADER_READY, 0);
	set(GPU_STATUS, 0);
	mmu_reset();
	set(MCU_CONTROL_BASE + MCU_CONTROL, MCU_CONTROL_DISABLE);
	set(MCU_CONTROL_BASE + MCU_STATUS, MCU_STATUS_DISABLED);
	raise(GPU, GPU_IRQ_RESET_COMPLETED);
}

static void command_tick(void)
{
	u32 command = get(GPU_CMD);

	if (!command)
		return;
	set(GPU_CMD, 0);
	switch (COMMAND(command)) {
	case RESET:
		reset();
		break;
	case FLUSH_CACHES:
		count(FLUSHES);
		set(CSF_GPU_LATEST_FLUSH_ID, get(CSF_GPU_LATEST_FLUSH_ID) + 1);
		raise(GPU, GPU_IRQ_CLEAN_CACHES_COMPLETED);
		break;
	}
}

static void power_tick(u32 present, u32 ready, u32 on, u32 off)
{
	u64 up = get64(on), down = get64(off);

	if (!up && !down)
		return;
	set64(on, 0);
	set64(off, 0);
	set64(ready, ((get64(ready) & ~down) | up) & get64(present));
	raise(GPU, GPU_IRQ_POWER_CHANGED | GPU_IRQ_POWER_CHANGED_ALL);
}

static void mcu_tick(void)
{
	u32 status = get(MCU_CONTROL_BASE + MCU_STATUS);

	switch (get(MCU_CONTROL_BASE + MCU_CONTROL)) {
	case MCU_CONTROL_DISABLE:
		if (status == MCU_STATUS_DISABLED)
			break;
		firmware_stop(status != MCU_STATUS_HALT);
		set(MCU_CONTROL_BASE + MCU_STATUS, MCU_STATUS_DISABLED);
		break;
	case MCU_CONTROL_ENABLE:
	case MCU_CONTROL_AUTO:
		if (status == MCU_STATUS_DISABLED || status == MCU_STATUS_FATAL)
			firmware_boot();
		break;
	}
}

void registers_tick(void)
{
	/* Clear first: the driver clears interrupts that were raised at an earlier tick. */
	interrupts_clear();
	command_tick();
	power_tick(GPU_L2_PRESENT, L2_READY, L2_PWRON, L2_PWROFF);
	power_tick(GPU_TILER_PRESENT, TILER_READY, TILER_PWRON, TILER_PWROFF);
	power_tick(GPU_SHADER_PRESENT, SHADER_READY, SHADER_PWRON, SHADER_PWROFF);
	mcu_tick();
}
