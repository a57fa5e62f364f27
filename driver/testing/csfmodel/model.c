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

uint interface_version = 0x01010000;
module_param(interface_version, uint, 0444);
MODULE_PARM_DESC(interface_version, "Version of the firmware's interface: 0x01010000 for 1.1.0, the default, to 0x04010000 for 4.1.0");

/* Variants of the handshake for protected mode: it is not known which of them a firmware has. */

uint protected_enter_ms;
module_param(protected_enter_ms, uint, 0644);
MODULE_PARM_DESC(protected_enter_ms, "Minimum time from a request for protected mode to its entry, in milliseconds");

bool protected_highest_slot;
module_param(protected_highest_slot, bool, 0644);
MODULE_PARM_DESC(protected_highest_slot, "In protected mode run only the group in the slot of the highest priority");

bool protected_repeats = true;
module_param(protected_repeats, bool, 0644);
MODULE_PARM_DESC(protected_repeats, "Repeat requests for protected mode that were acknowledged but not served");
