/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Makes the system calls of a trace of protheap-bind in the same order, with all results known beforehand: the minimum
 * for a program that supports one board in one state. xtask/src/bench/replay.rs writes calls.h from the trace.
 *
 * replay           make the calls
 * replay --times   make the calls and print the time of each in nanoseconds
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct call {
	long number, arg[6];
	/* Its result in the trace; 0 if the number of bytes can differ. */
	long result;
};

/* Memory for the results of all calls, which are not read. */
static char scratch[1 << 20];

#include "calls.h"

static long take_ns[sizeof(calls) / sizeof(*calls)];

static long make(const struct call *call)
{
	register long x8 asm("x8") = call->number;
	register long x0 asm("x0") = call->arg[0];
	register long x1 asm("x1") = call->arg[1];
	register long x2 asm("x2") = call->arg[2];
	register long x3 asm("x3") = call->arg[3];
	register long x4 asm("x4") = call->arg[4];
	register long x5 asm("x5") = call->arg[5];

	asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
	return x0;
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

int main(int argc, char **argv)
{
	int times = argc > 1 && !strcmp(argv[1], "--times");

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		long started = times ? now_ns() : 0;
		long result = make(&calls[i]);

		if (times)
			take_ns[i] = now_ns() - started;
		if (result != calls[i].result && (result < 0 || calls[i].result != 0)) {
			fprintf(stderr, "replay: call %zu (%ld) returned %ld, not %ld\n", i, calls[i].number, result,
				calls[i].result);
			return 1;
		}
	}
	for (size_t i = 0; times && i < sizeof(calls) / sizeof(*calls); i++)
		printf("time %zu %ld\n", i, take_ns[i]);
	return 0;
}
