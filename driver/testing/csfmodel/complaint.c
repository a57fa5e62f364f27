// SPDX-License-Identifier: GPL-2.0
/* Complaints: violations that the model has detected. */

#include <linux/printk.h>
#include <linux/string.h>

#include "complaint.h"
#include "model.h"

#define MAX_COMPLAINTS	32

static char complaints[MAX_COMPLAINTS][128];
static u32 complaint_count;

/* Stores each complaint once. */
void complain(const char *format, ...)
{
	char text[sizeof(complaints[0])];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	count(COMPLAINTS);
	for (u32 i = 0; i < complaint_count; i++) {
		if (!strcmp(complaints[i], text))
			return;
	}
	if (complaint_count == MAX_COMPLAINTS)
		return;
	strscpy(complaints[complaint_count++], text);
	pr_warn("csfmodel: %s\n", text);
}

/* Returns complaint number @index, counted from 0, or NULL if there are fewer. */
const char *complaint(u32 index)
{
	return index < complaint_count ? complaints[index] : NULL;
}
