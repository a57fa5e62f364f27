/* SPDX-License-Identifier: GPL-2.0 */
/* Firmware as seen by the host. */
#ifndef CSFMODEL_FIRMWARE_H
#define CSFMODEL_FIRMWARE_H

#include <linux/types.h>

void firmware_boot(void);
void firmware_stop(bool lost);
void firmware_tick(void);

#endif
