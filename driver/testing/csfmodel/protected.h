/* SPDX-License-Identifier: GPL-2.0 */
/* Protected mode. */
#ifndef CSFMODEL_PROTECTED_H
#define CSFMODEL_PROTECTED_H

#include <linux/types.h>

u32 protected_streams(u32 slot);
void protected_request(void);
void protected_enter_tick(void);
void protected_leave(bool keep);
void protected_forget(void);
void protected_tick(void);

#endif
