// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The same as player.rs, in C with sd-bus: find a heap that GPU and decoder can both use, allocate a buffer from it,
 * and verify that the CPU cannot read the buffer.
 *
 *	CFLAGS = -Wall -Wextra -Werror -O2 $(shell pkg-config --cflags libsystemd)
 *	player: player.c ; $(CC) $(CFLAGS) -o $@ $< $$(pkg-config --libs libsystemd)
 *
 * Usage: player [RENDER_NODE [VIDEO_NODE]]
 * Exit status: 0 on success, 1 if a step failed, 2 on wrong usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define SERVICE "org.protheap1"
/* Purpose of the memory. */
#define USAGE "secure-video"
/* Small enough for test boards with little protected memory; an NV12 frame takes width * height * 3 / 2. */
#define BYTES (64 * 1024)

/* The heap that the service returned; the strings belong to the reply. */
struct found {
	const char *path, *name, *node, *protection, *exporter;
};

static int failed(int error, const char *verb, const char *object)
{
	fprintf(stderr, "player: failed to %s %s: %s\n", verb, object, strerror(error < 0 ? -error : error));
	return -1;
}

/* Prints why a call failed, with the service's own message, which includes the remedy. */
static int refused(int error, const sd_bus_error *reply, const char *verb, const char *object)
{
	if (!sd_bus_error_is_set(reply))
		return failed(error, verb, object);
	fprintf(stderr, "player: failed to %s %s: %s: %s\n", verb, object, reply->name,
		reply->message ? reply->message : "");
	return -1;
}

/* Reads the device number; the path is not needed, so this also works with a received file descriptor. */
static int number(const char *path, dev_t *device)
{
	struct stat stat;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int status;

	if (fd < 0)
		return failed(errno, "open", path);
	status = fstat(fd, &stat);
	close(fd);
	if (status < 0)
		return failed(errno, "stat", path);
	if (!S_ISCHR(stat.st_mode))
		return failed(ENODEV, "use", path);
	*device = stat.st_rdev;
	return 0;
}

/* Reads one string of the details; skips values of other types. */
static int detail(sd_bus_message *reply, struct found *found)
{
	const char *key, *value, *contents;
	int r = sd_bus_message_read(reply, "s", &key);

	if (r < 0)
		return r;
	r = sd_bus_message_peek_type(reply, NULL, &contents);
	if (r < 0)
		return r;
	if (strcmp(contents, "s"))
		return sd_bus_message_skip(reply, "v");
	r = sd_bus_message_read(reply, "v", "s", &value);
	if (r < 0)
		return r;
	if (!strcmp(key, "node"))
		found->node = value;
	else if (!strcmp(key, "protection"))
		found->protection = value;
	else if (!strcmp(key, "exporter"))
		found->exporter = value;
	return 0;
}

static int read_reply(sd_bus_message *reply, struct found *found)
{
	int r = sd_bus_message_read(reply, "os", &found->path, &found->name);

	if (r < 0)
		return r;
	r = sd_bus_message_enter_container(reply, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
		r = detail(reply, found);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(reply);
		if (r < 0)
			return r;
	}
	return r;
}

static int find_heap(sd_bus *bus, const dev_t *devices, size_t count, struct found *found, sd_bus_message **reply)
{
	__attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *call = NULL;
	int r = sd_bus_message_new_method_call(bus, &call, SERVICE, "/org/protheap1", SERVICE ".Manager", "FindHeap");

	if (r >= 0)
		r = sd_bus_message_append(call, "s", USAGE);
	if (r >= 0)
		r = sd_bus_message_open_container(call, 'a', "(uu)");
	for (size_t i = 0; r >= 0 && i < count; i++)
		r = sd_bus_message_append(call, "(uu)", major(devices[i]), minor(devices[i]));
	if (r >= 0)
		r = sd_bus_message_close_container(call);
	/* No options. */
	if (r >= 0)
		r = sd_bus_message_append(call, "a{sv}", 0);
	if (r >= 0)
		r = sd_bus_call(bus, call, 0, &error, reply);
	if (r < 0)
		return refused(r, &error, "find", "a common heap");
	r = read_reply(*reply, found);
	return r < 0 ? failed(r, "read", "the reply to FindHeap") : 0;
}

/* Opens the heap's node, directly or through protheapd. */
static int open_heap(sd_bus *bus, const struct found *found)
{
	__attribute__((cleanup(sd_bus_error_free))) sd_bus_error error = SD_BUS_ERROR_NULL;
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	int heap = open(found->node, O_RDWR | O_CLOEXEC);
	int r;

	if (heap >= 0)
		return heap;
	printf("%s: %s; requesting it from protheapd\n", found->node, strerror(errno));
	r = sd_bus_call_method(bus, SERVICE, found->path, SERVICE ".Heap", "Open", &error, &reply, "");
	if (r >= 0)
		r = sd_bus_message_read(reply, "h", &heap);
	if (r < 0)
		return refused(r, &error, "open", found->name);
	/* The reply owns the descriptor and closes it when it is freed. */
	heap = fcntl(heap, F_DUPFD_CLOEXEC, 3);
	return heap < 0 ? failed(errno, "duplicate", "the descriptor of the heap") : heap;
}

/* Allocates a buffer and tries to map it, like a process that reads it. */
static int try_buffer(int heap, const char *name)
{
	struct dma_heap_allocation_data data = { .len = BYTES, .fd_flags = O_RDWR | O_CLOEXEC };
	void *address;
	int error;

	if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data) < 0)
		return failed(errno, "allocate a buffer from", name);
	printf("buffer      %d bytes\n", BYTES);
	address = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, (int)data.fd, 0);
	error = errno;
	/* A player would keep the buffer: the heap gets the memory back when the last descriptor is closed. */
	close((int)data.fd);
	if (address != MAP_FAILED) {
		munmap(address, BYTES);
		fprintf(stderr, "player: the buffer is not protected, because it can be mapped; do not use %s\n", name);
		return -1;
	}
	printf("mmap        refused: %s\n", strerror(error));
	return 0;
}

static const char *or_unknown(const char *word)
{
	return *word ? word : "unknown: no buffer has been examined yet";
}

static int play(const char *render, const char *video)
{
	__attribute__((cleanup(sd_bus_flush_close_unrefp))) sd_bus *bus = NULL;
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	struct found found = { .node = "", .protection = "", .exporter = "" };
	dev_t devices[2];
	int heap, r;

	if (number(render, &devices[0]) < 0 || number(video, &devices[1]) < 0)
		return -1;
	r = sd_bus_open_system(&bus);
	if (r < 0)
		return failed(r, "connect to", "the system bus");
	if (find_heap(bus, devices, 2, &found, &reply) < 0)
		return -1;
	printf("heap        %s\n", found.name);
	printf("protection  %s\n", or_unknown(found.protection));
	printf("exporter    %s\n", or_unknown(found.exporter));
	heap = open_heap(bus, &found);
	if (heap < 0)
		return -1;
	r = try_buffer(heap, found.name);
	close(heap);
	if (r < 0)
		return -1;
	printf("next        give it to the decoder (V4L2_MEMORY_DMABUF) and to the GPU "
	       "(EGL_LINUX_DMA_BUF_EXT with EGL_PROTECTED_CONTENT_EXT)\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *render = argc > 1 ? argv[1] : "/dev/dri/renderD128";
	const char *video = argc > 2 ? argv[2] : "/dev/video0";

	if (argc > 3 || render[0] == '-') {
		fprintf(stderr, "usage: player [RENDER_NODE [VIDEO_NODE]]\n");
		return 2;
	}
	return play(render, video) < 0 ? 1 : 0;
}
