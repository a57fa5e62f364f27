// SPDX-License-Identifier: GPL-2.0

#include <linux/module.h>

#include "symbols.h"

bool protheap_symbols_get(struct protheap_symbols *symbols)
{
	*symbols = (struct protheap_symbols) {
		.attach = symbol_get(protheap_attach),
		.detach = symbol_get(protheap_detach),
		.firmware_buffer = symbol_get(protheap_firmware_buffer),
		.firmware_put = symbol_get(protheap_firmware_put),
		.suspend_configure = symbol_get(protheap_suspend_configure),
		.suspend_get = symbol_get(protheap_suspend_get),
		.suspend_put = symbol_get(protheap_suspend_put),
	};
	if (symbols->attach && symbols->detach && symbols->firmware_buffer && symbols->firmware_put &&
	    symbols->suspend_configure && symbols->suspend_get && symbols->suspend_put)
		return true;
	protheap_symbols_put(symbols);
	return false;
}

void protheap_symbols_put(const struct protheap_symbols *symbols)
{
	/* Each symbol that was found holds one reference to the module. */
	if (symbols->attach)
		symbol_put(protheap_attach);
	if (symbols->detach)
		symbol_put(protheap_detach);
	if (symbols->firmware_buffer)
		symbol_put(protheap_firmware_buffer);
	if (symbols->firmware_put)
		symbol_put(protheap_firmware_put);
	if (symbols->suspend_configure)
		symbol_put(protheap_suspend_configure);
	if (symbols->suspend_get)
		symbol_put(protheap_suspend_get);
	if (symbols->suspend_put)
		symbol_put(protheap_suspend_put);
}
