// SPDX-License-Identifier: GPL-2.0
/*
 * csfmodel.ko: a simulated Mali CSF GPU, for the kernel's own panthor driver. For tests only.
 *
 * In the device tree the GPU's registers are memory that the kernel does not use. A timer polls
 * them, executes what the driver wrote as hardware and firmware would, and writes their responses.
 * The code of the firmware is never run: its image only determines where its memory is.
 *
 * The model verifies what a driver writes to page tables, interfaces and ring buffers, and in which
 * order. It proves nothing about TLBs, caches, memory attributes, real firmware, or the security of
 * a bus.
 *
 * With several processors, a bit that the driver clears between a poll and the response can be set
 * again, which does not happen on hardware. The only effect is that an interrupt is repeated.
 *
 * Files in /sys/kernel/debug/csfmodel: counters, firmware, groups, map and complaints show the
 * state, reading check runs all checks, and inject causes faults (inject.c).
 */

#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/of_address.h>
#include <linux/of_irq.h>

#include "check.h"
#include "firmware.h"
#include "interrupt.h"
#include "lent.h"
#include "mmu.h"
#include "model.h"
#include "registers.h"
#include "report.h"

static uint period_us = 50;
module_param(period_us, uint, 0644);
MODULE_PARM_DESC(period_us, "Microseconds between two polls of the registers");

static struct hrtimer timer;

static enum hrtimer_restart tick(struct hrtimer *unused)
{
	scoped_guard(raw_spinlock, &model.lock) {
		count(TICKS);
		registers_tick();
		mmu_tick();
		firmware_tick();
		check_tick();
		interrupts_tick();
	}
	/* Relative to now, so that the driver gets time to run on a slow machine. */
	hrtimer_set_expires(&timer, ktime_add_us(ktime_get(), max(period_us, 1)));
	return HRTIMER_RESTART;
}

static int find_gpu(struct resource *registers)
{
	static const char * const names[] = { [JOB] = "job", [MMU] = "mmu", [GPU] = "gpu" };
	struct device_node *node = of_find_node_with_property(NULL, "protheap,modelled-gpu");
	int ret;

	if (!node) {
		pr_err("csfmodel: no device-tree node has protheap,modelled-gpu\n");
		return -ENODEV;
	}
	ret = of_property_read_u32(node, "protheap,modelled-gpu", &model.gpu_id);
	if (!ret)
		ret = of_address_to_resource(node, 0, registers);
	for (int i = 0; !ret && i < INTERRUPTS; i++) {
		model.irq[i] = of_irq_get_byname(node, names[i]);
		if (model.irq[i] <= 0)
			ret = model.irq[i] ?: -ENXIO;
	}
	if (ret)
		pr_err("csfmodel: failed to read %pOF: %d\n", node, ret);
	of_node_put(node);
	return ret;
}

static int map_registers(const struct resource *registers)
{
	/* The model accesses registers up to the last doorbell. */
	if (resource_size(registers) < CSF_DOORBELL(GROUPS + 1)) {
		pr_err("csfmodel: %pR is too small for a CSF GPU\n", registers);
		return -ENODEV;
	}
	if (pfn_is_map_memory(PHYS_PFN(registers->start)) ||
	    pfn_is_map_memory(PHYS_PFN(registers->end))) {
		pr_err("csfmodel: %pR is the kernel's: reserve it with no-map\n", registers);
		return -ENODEV;
	}
	model.bytes = resource_size(registers);
	model.registers = ioremap(registers->start, model.bytes);
	return model.registers ? 0 : -ENOMEM;
}

static int __init csfmodel_init(void)
{
	struct resource registers;
	int ret;

	raw_spin_lock_init(&model.lock);
	model.runs = -1;
	ret = find_gpu(&registers);
	if (ret)
		return ret;
	ret = map_registers(&registers);
	if (ret)
		return ret;
	ret = check_begin();
	if (ret)
		goto unmap;
	ret = lent_begin();
	if (ret)
		goto end_checks;
	registers_begin();
	report_begin();
	hrtimer_setup(&timer, tick, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	hrtimer_start(&timer, us_to_ktime(max(period_us, 1)), HRTIMER_MODE_REL_HARD);
	pr_info("csfmodel: GPU %08x at %pR\n", model.gpu_id, &registers);
	return 0;

end_checks:
	check_end();
unmap:
	iounmap(model.registers);
	return ret;
}

static void __exit csfmodel_exit(void)
{
	hrtimer_cancel(&timer);
	report_end();
	lent_end();
	check_end();
	iounmap(model.registers);
}

module_init(csfmodel_init);
module_exit(csfmodel_exit);
MODULE_DESCRIPTION("Simulated Mali CSF GPU for panthor, for tests");
MODULE_LICENSE("GPL");
