/* SPDX-License-Identifier: GPL-2.0 */
/* Registers of the GPU. */
#ifndef CSFMODEL_REGISTERS_H
#define CSFMODEL_REGISTERS_H

void registers_begin(void);
void registers_tick(void);

#endif
