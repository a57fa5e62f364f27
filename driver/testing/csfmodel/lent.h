/* SPDX-License-Identifier: GPL-2.0 */
/* The carve-out of a real OP-TEE with a dynamic pool. */
#ifndef CSFMODEL_LENT_H
#define CSFMODEL_LENT_H

int lent_begin(void);
void lent_end(void);

#endif
