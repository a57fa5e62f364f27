// SPDX-License-Identifier: GPL-2.0
/* State of the simulated GPU, and the parameters of the module that its units read. */

#include <linux/module.h>

#include "model.h"

struct model model;

uint suspend_bytes = 0x20000;
module_param(suspend_bytes, uint, 0444);
MODULE_PARM_DESC(suspend_bytes, "Size of a suspend buffer that the firmware reports, in bytes");

uint protected_suspend_bytes = 0x10000;
module_param(protected_suspend_bytes, uint, 0444);
MODULE_PARM_DESC(protected_suspend_bytes, "Size of a protected suspend buffer that the firmware reports, in bytes");

uint protected_ticks = 20;
module_param(protected_ticks, uint, 0644);
MODULE_PARM_DESC(protected_ticks, "Minimum duration of protected mode, in polls");

uint boot_interrupt_ms;
module_param(boot_interrupt_ms, uint, 0644);
MODULE_PARM_DESC(boot_interrupt_ms, "Delay between a boot of the firmware and its interrupt, in milliseconds");
