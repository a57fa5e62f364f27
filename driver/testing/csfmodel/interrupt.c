// SPDX-License-Identifier: GPL-2.0
/* Interrupts of the GPU: their registers, and the lines to the interrupt controller. */

#include <linux/interrupt.h>

#include "interrupt.h"
#include "model.h"

static const u32 interrupt_base[INTERRUPTS] = {
	[JOB] = JOB_INT_BASE,
	[MMU] = MMU_INT_BASE,
	[GPU] = GPU_INT_BASE,
};

void raise(enum interrupt interrupt, u32 bits)
{
	u32 raw = interrupt_base[interrupt] + INT_RAWSTAT;

	set(raw, get(raw) | bits);
}

/* Clears the interrupts that the driver has cleared since the last tick. */
void interrupts_clear(void)
{
	for (int i = 0; i < INTERRUPTS; i++) {
		u32 clear = get(interrupt_base[i] + INT_CLEAR);
		u32 raw = interrupt_base[i] + INT_RAWSTAT;

		if (clear) {
			set(interrupt_base[i] + INT_CLEAR, 0);
			set(raw, get(raw) & ~clear);
		}
	}
}

/* The lines are level-triggered: each tick sets an asserted line pending again. */
void interrupts_tick(void)
{
	for (int i = 0; i < INTERRUPTS; i++) {
		u32 base = interrupt_base[i];
		u32 status = get(base + INT_RAWSTAT) & get(base + INT_MASK);

		set(base + INT_STAT, status);
		if (status)
			irq_set_irqchip_state(model.irq[i], IRQCHIP_STATE_PENDING, true);
	}
}
