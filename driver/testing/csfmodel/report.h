/* SPDX-License-Identifier: GPL-2.0 */
/* Files in debugfs. */
#ifndef CSFMODEL_REPORT_H
#define CSFMODEL_REPORT_H

void report_begin(void);
void report_end(void);

#endif
