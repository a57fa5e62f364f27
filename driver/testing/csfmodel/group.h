/* SPDX-License-Identifier: GPL-2.0 */
/* Command stream groups. */
#ifndef CSFMODEL_GROUP_H
#define CSFMODEL_GROUP_H

#include <linux/types.h>

void group_request(u32 slot);
void groups_run(void);

#endif
