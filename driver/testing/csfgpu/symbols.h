/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions of protheap.h, looked up at run time: symbol_get() is a macro, which Rust cannot use.
 */
#ifndef _PROTHEAP_SYMBOLS_H
#define _PROTHEAP_SYMBOLS_H

#include "protheap.h"

/* struct Symbols in protheap.rs has the same fields in the same order. */
struct protheap_symbols {
	typeof(protheap_attach) *attach;
	typeof(protheap_detach) *detach;
	typeof(protheap_firmware_buffer) *firmware_buffer;
	typeof(protheap_firmware_put) *firmware_put;
	typeof(protheap_suspend_configure) *suspend_configure;
	typeof(protheap_suspend_get) *suspend_get;
	typeof(protheap_suspend_put) *suspend_put;
};

/* Fills @symbols and pins protheap.ko until protheap_symbols_put(). Returns false if it is not loaded. */
bool protheap_symbols_get(struct protheap_symbols *symbols);
void protheap_symbols_put(const struct protheap_symbols *symbols);

#endif /* _PROTHEAP_SYMBOLS_H */
