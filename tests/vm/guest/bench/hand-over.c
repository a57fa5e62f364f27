/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Allocates the buffers of a GPU from a heap and hands them over to protheap.ko, for the shell script by-hand.sh.
 *
 * hand-over DEVICE HEAP FIRMWARE_BYTES SUSPEND_BYTES SUSPEND_COUNT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protheap.h"

static void fail(const char *what)
{
	fprintf(stderr, "hand-over: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void hand_over(int heap, int protheap, const char *device, __u32 kind, __u64 bytes)
{
	struct dma_heap_allocation_data data = { .len = bytes, .fd_flags = O_RDWR | O_CLOEXEC };
	struct protheap_hand_over buffer = { .kind = kind };

	if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data))
		fail("failed to allocate a buffer");
	/* Verifies the first buffer only, like the binder: memory that can be mapped is not protected. */
	if (kind == PROTHEAP_FIRMWARE && mmap(NULL, bytes, PROT_READ, MAP_SHARED, data.fd, 0) != MAP_FAILED) {
		errno = EMEDIUMTYPE;
		fail("buffer is not protected");
	}
	snprintf((char *)buffer.device, sizeof(buffer.device), "%s", device);
	buffer.fd = data.fd;
	if (ioctl(protheap, PROTHEAP_IOCTL_HAND_OVER, &buffer))
		fail("failed to hand over a buffer");
	close(data.fd);
}

int main(int argc, char **argv)
{
	char path[300];
	int heap, protheap;

	if (argc != 6) {
		fputs("usage: hand-over DEVICE HEAP FIRMWARE_BYTES SUSPEND_BYTES SUSPEND_COUNT\n", stderr);
		return 2;
	}
	snprintf(path, sizeof(path), "/dev/dma_heap/%s", argv[2]);
	heap = open(path, O_RDWR | O_CLOEXEC);
	if (heap < 0)
		fail(path);
	protheap = open("/dev/protheap", O_RDWR | O_CLOEXEC);
	if (protheap < 0)
		fail("/dev/protheap");
	hand_over(heap, protheap, argv[1], PROTHEAP_FIRMWARE, strtoull(argv[3], NULL, 10));
	for (long left = strtol(argv[5], NULL, 10); left > 0; left--)
		hand_over(heap, protheap, argv[1], PROTHEAP_SUSPEND, strtoull(argv[4], NULL, 10));
	return 0;
}
