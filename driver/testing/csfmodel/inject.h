/* SPDX-License-Identifier: GPL-2.0 */
/* Fault injection through debugfs. */
#ifndef CSFMODEL_INJECT_H
#define CSFMODEL_INJECT_H

struct dentry;

void inject_begin(struct dentry *directory);

#endif
