/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Handing protected buffers to /dev/protheap.
 */
#ifndef _UAPI_PROTHEAP_H
#define _UAPI_PROTHEAP_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The buffer holds the protected section of the GPU's firmware. A binding takes one, before it is committed. */
#define PROTHEAP_FIRMWARE	0
/* The buffer joins the pool from which protected command stream groups are suspended. */
#define PROTHEAP_SUSPEND	1

/**
 * struct protheap_hand_over - one dma-buf for one GPU
 * @device:	name of the GPU's platform device, terminated by NUL: the directory in configfs, whose name is refused
 *		if it is too long for this (ENAMETOOLONG)
 * @fd:		the dma-buf; the module takes a reference of its own, the caller may close it
 * @kind:	PROTHEAP_FIRMWARE or PROTHEAP_SUSPEND
 * @flags:	none is defined: 0
 */
struct protheap_hand_over {
	__u8  device[64];
	__s32 fd;
	__u32 kind;
	__u64 flags;
};

/*
 * Hand a buffer over. Errors: EINVAL (device name, or not a dma-buf), EBADF (not a descriptor), ENODEV (no
 * binding of that device), EOPNOTSUPP (kind or flags unknown, or the binding's source is not `handed`), EMSGSIZE
 * (too small), EPERM (the CPU can map it), EEXIST (handed over before), EXDEV (another exporter than the
 * binding's first buffer's), EBUSY (too late, or a second one of its kind), ENOSPC (more than suspend_count), EAGAIN
 * (the system is about to hibernate).
 */
#define PROTHEAP_IOCTL_HAND_OVER	_IOW(0xBB, 0x01, struct protheap_hand_over)

#endif /* _UAPI_PROTHEAP_H */
