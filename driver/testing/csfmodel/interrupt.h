/* SPDX-License-Identifier: GPL-2.0 */
/* Interrupts of the GPU, and their lines. */
#ifndef CSFMODEL_INTERRUPT_H
#define CSFMODEL_INTERRUPT_H

#include "model.h"

void raise(enum interrupt interrupt, u32 bits);
void interrupts_clear(void);
void interrupts_tick(void);

#endif
