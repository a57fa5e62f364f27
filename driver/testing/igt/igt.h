/* SPDX-License-Identifier: MIT */
/*
 * The part of IGT that panthor_protected.c uses, so that a small guest can run the test without IGT. In IGT the
 * includes of igt.h and igt_panthor.h replace this file.
 */
#ifndef IGT_H
#define IGT_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define IGT_EXIT_FAILURE 98

static const char *igt_subtest_name;

#define IGT_TEST_DESCRIPTION(text) static const char igt_description[] __attribute__((unused)) = text

#define igt_main						\
	static void igt_real_main(void);			\
	int main(void)						\
	{							\
		igt_real_main();				\
		return 0;					\
	}							\
	static void igt_real_main(void)

#define igt_fixture

static inline int igt_begin(const char *name)
{
	igt_subtest_name = name;
	return 1;
}

static inline int igt_end(void)
{
	printf("Subtest %s: SUCCESS\n", igt_subtest_name);
	fflush(stdout);
	return 0;
}

#define igt_subtest(name)	for (int igt_runs = igt_begin(name); igt_runs; igt_runs = igt_end())

static inline void igt_fail(const char *condition, int line)
{
	printf("Subtest %s: FAIL\n%d: %s (errno %d, %s)\n", igt_subtest_name ?: "(fixture)", line, condition, errno,
	       strerror(errno));
	exit(IGT_EXIT_FAILURE);
}

#define igt_assert(condition)		do { if (!(condition)) igt_fail(#condition, __LINE__); } while (0)
#define igt_assert_eq(a, b)		igt_assert((a) == (b))
#define do_ioctl(fd, request, arg)	igt_assert(ioctl(fd, request, arg) == 0)
#define do_ioctl_err(fd, request, arg, error) \
	igt_assert(ioctl(fd, request, arg) == -1 && errno == (error))

static inline void igt_drop_root(void)
{
	igt_assert(setgid(65534) == 0 && setuid(65534) == 0);
}

#define DRIVER_PANTHOR 0

static inline int drm_open_driver_render(int chipset)
{
	int fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);

	(void)chipset;
	igt_assert(fd >= 0);
	return fd;
}

#define drm_close_driver(fd) close(fd)

#endif
