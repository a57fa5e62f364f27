// SPDX-License-Identifier: MIT
/*
 * Interface of panthor for protected mode, in the style of IGT (tests/panthor/).
 *
 * Runs as root on a device whose firmware has a protected section and no buffer, and leaves it without one. Needs a heap
 * of protected memory, named by PANTHOR_PROTECTED_HEAP, or else `protected,secure-video`, and the heap `system`.
 */

#include <drm/panthor_drm.h>
#include <linux/dma-heap.h>
#include <stdint.h>
#include <sys/wait.h>

#include "igt.h"

IGT_TEST_DESCRIPTION("Set the protected memory of the firmware, and create groups that can enter protected mode");

static struct drm_panthor_protected_info query(int fd)
{
	struct drm_panthor_protected_info info = {};
	struct drm_panthor_dev_query query = {
		.type = DRM_PANTHOR_DEV_QUERY_PROTECTED_INFO,
		.size = sizeof(info),
		.pointer = (uintptr_t)&info,
	};

	do_ioctl(fd, DRM_IOCTL_PANTHOR_DEV_QUERY, &query);
	return info;
}

static int allocate(const char *heap, uint64_t size)
{
	struct dma_heap_allocation_data data = { .len = size, .fd_flags = O_RDWR | O_CLOEXEC };
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/dev/dma_heap/%s", heap);
	fd = open(path, O_RDWR | O_CLOEXEC);
	igt_assert(fd >= 0);
	do_ioctl(fd, DMA_HEAP_IOCTL_ALLOC, &data);
	close(fd);
	return data.fd;
}

static int allocate_protected(uint64_t size)
{
	const char *heap = getenv("PANTHOR_PROTECTED_HEAP");

	return allocate(heap ?: "protected,secure-video", size);
}

/* Returns 0, or the errno, and closes the buffer. */
static int protm_init(int fd, int buffer, uint32_t flags)
{
	struct drm_panthor_protm_init init = { .fd = buffer, .flags = flags };
	int ret = ioctl(fd, DRM_IOCTL_PANTHOR_PROTM_INIT, &init) ? errno : 0;

	if (buffer >= 0)
		close(buffer);
	return ret;
}

/* Returns 0, or the errno, and closes the suspend buffer. */
static int group_create(int fd, uint32_t flags, int suspend, uint32_t *handle)
{
	struct drm_panthor_gpu_info gpu = {};
	struct drm_panthor_dev_query query = {
		.type = DRM_PANTHOR_DEV_QUERY_GPU_INFO,
		.size = sizeof(gpu),
		.pointer = (uintptr_t)&gpu,
	};
	struct drm_panthor_queue_create queue = { .priority = 1, .ringbuf_size = 65536 };
	struct drm_panthor_vm_create vm = {};
	struct drm_panthor_group_create group = {
		.queues = DRM_PANTHOR_OBJ_ARRAY(1, &queue),
		.max_compute_cores = 1,
		.max_fragment_cores = 1,
		.max_tiler_cores = 1,
		.priority = PANTHOR_GROUP_PRIORITY_MEDIUM,
		.flags = flags,
		.protm_suspend_fd = suspend,
	};
	struct drm_panthor_vm_destroy destroy = {};
	int ret;

	do_ioctl(fd, DRM_IOCTL_PANTHOR_DEV_QUERY, &query);
	group.compute_core_mask = gpu.shader_present;
	group.fragment_core_mask = gpu.shader_present;
	group.tiler_core_mask = gpu.tiler_present;
	do_ioctl(fd, DRM_IOCTL_PANTHOR_VM_CREATE, &vm);
	group.vm_id = vm.id;
	ret = ioctl(fd, DRM_IOCTL_PANTHOR_GROUP_CREATE, &group) ? errno : 0;
	*handle = group.group_handle;
	/* The group keeps the address space. */
	destroy.id = vm.id;
	do_ioctl(fd, DRM_IOCTL_PANTHOR_VM_DESTROY, &destroy);
	if (suspend >= 0)
		close(suspend);
	return ret;
}

static void group_destroy(int fd, uint32_t handle)
{
	struct drm_panthor_group_destroy destroy = { .group_handle = handle };

	do_ioctl(fd, DRM_IOCTL_PANTHOR_GROUP_DESTROY, &destroy);
}

/* The memory of a group is released asynchronously. */
static int remove_when_idle(int fd)
{
	int ret = EBUSY;

	for (int i = 0; ret == EBUSY && i < 1000; i++) {
		usleep(10000);
		ret = protm_init(fd, -1, 0);
	}
	return ret;
}

igt_main
{
	const uint32_t protm = DRM_PANTHOR_GROUP_FEATURE_PROTM;
	struct drm_panthor_protected_info info;
	uint32_t handle;
	int fd;

	igt_fixture {
		fd = drm_open_driver_render(DRIVER_PANTHOR);
		info = query(fd);
		igt_assert_eq(info.features, DRM_PANTHOR_PROTECTED_FEATURE_PROTM);
		igt_assert_eq(info.state, DRM_PANTHOR_PROTECTED_STATE_NO_BUFFER);
	}

	igt_subtest("query-sizes") {
		igt_assert(info.fw_size > 0);
		igt_assert_eq(info.fw_size % 4096, 0);
		igt_assert(info.suspend_size > 0);
	}

	igt_subtest("init-bad-args") {
		igt_assert_eq(protm_init(fd, -2, 0), EBADF);
		igt_assert_eq(protm_init(fd, open("/dev/null", O_RDWR), 0), EINVAL);
		igt_assert_eq(protm_init(fd, allocate("system", info.fw_size), 0), EINVAL);
		igt_assert_eq(protm_init(fd, allocate_protected(info.fw_size), 1), EINVAL);
		igt_assert_eq(protm_init(fd, allocate_protected(info.fw_size - 4096), 0), EMSGSIZE);
		igt_assert_eq(query(fd).state, DRM_PANTHOR_PROTECTED_STATE_NO_BUFFER);
	}

	igt_subtest("init-unprivileged") {
		int status, buffer = allocate_protected(info.fw_size);
		pid_t child = fork();

		if (!child) {
			igt_drop_root();
			_exit(protm_init(fd, buffer, 0) == EPERM ? 0 : 1);
		}
		igt_assert_eq(waitpid(child, &status, 0), child);
		igt_assert_eq(status, 0);
		close(buffer);
		igt_assert_eq(query(fd).state, DRM_PANTHOR_PROTECTED_STATE_NO_BUFFER);
	}

	igt_subtest("group-unknown-flags") {
		for (int bit = 1; bit < 32; bit++)
			igt_assert_eq(group_create(fd, 1u << bit, -1, &handle), EINVAL);
	}

	igt_subtest("group-without-init")
		igt_assert_eq(group_create(fd, protm, allocate_protected(info.suspend_size), &handle), EOPNOTSUPP);

	igt_subtest("init") {
		igt_assert_eq(protm_init(fd, allocate_protected(info.fw_size), 0), 0);
		igt_assert_eq(query(fd).state, DRM_PANTHOR_PROTECTED_STATE_READY);
	}

	igt_subtest("init-twice")
		igt_assert_eq(protm_init(fd, allocate_protected(info.fw_size), 0), EBUSY);

	igt_subtest("group-bad-buffer") {
		igt_assert_eq(group_create(fd, protm, -1, &handle), EBADF);
		igt_assert_eq(group_create(fd, protm, open("/dev/null", O_RDWR), &handle), EINVAL);
		igt_assert_eq(group_create(fd, protm, allocate("system", info.suspend_size), &handle), EINVAL);
		if (info.suspend_size > 4096)
			igt_assert_eq(group_create(fd, protm, allocate_protected(info.suspend_size - 4096), &handle),
				      EMSGSIZE);
	}

	igt_subtest("group") {
		igt_assert_eq(group_create(fd, protm, allocate_protected(info.suspend_size), &handle), 0);
		igt_assert_eq(protm_init(fd, -1, 0), EBUSY);
		igt_assert_eq(query(fd).state, DRM_PANTHOR_PROTECTED_STATE_READY);
		group_destroy(fd, handle);
	}

	igt_subtest("group-ordinary") {
		igt_assert_eq(group_create(fd, 0, -1, &handle), 0);
		group_destroy(fd, handle);
	}

	igt_subtest("remove") {
		igt_assert_eq(remove_when_idle(fd), 0);
		igt_assert_eq(query(fd).state, DRM_PANTHOR_PROTECTED_STATE_NO_BUFFER);
		igt_assert_eq(group_create(fd, protm, allocate_protected(info.suspend_size), &handle), EOPNOTSUPP);
	}

	igt_fixture
		drm_close_driver(fd);
}
