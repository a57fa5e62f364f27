/* SPDX-License-Identifier: GPL-2.0 */
/* Complaints: violations that the model has detected. */
#ifndef CSFMODEL_COMPLAINT_H
#define CSFMODEL_COMPLAINT_H

#include <linux/compiler_attributes.h>
#include <linux/types.h>

__printf(1, 2) void complain(const char *format, ...);
const char *complaint(u32 index);

#endif
