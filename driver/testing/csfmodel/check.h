/* SPDX-License-Identifier: GPL-2.0 */
/* Invariants of the driver's use of memory. */
#ifndef CSFMODEL_CHECK_H
#define CSFMODEL_CHECK_H

#include <linux/types.h>

int check_begin(void);
void check_end(void);
void check_soon(void);
void check_tick(void);
bool check_now(void);
int check_spoil(void);
void check_lent(phys_addr_t start, size_t bytes);
void check_reclaimed(phys_addr_t start);

#endif
