/* SPDX-License-Identifier: GPL-2.0 */
/* The instructions that panthor and the tests use. */
#ifndef CSFMODEL_INSTRUCTION_H
#define CSFMODEL_INSTRUCTION_H

#include "context.h"

enum progress instruction_run(struct context *context);

#endif
