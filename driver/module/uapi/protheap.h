/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Handing protected buffers to /dev/protheap.
 */
#ifndef _UAPI_PROTHEAP_H
#define _UAPI_PROTHEAP_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The buffer holds the protected section of the GPU's firmware. A binding takes one, before the commit. */
#define PROTHEAP_FIRMWARE	0
/* The buffer joins the pool that holds the state of suspended protected groups. */
#define PROTHEAP_SUSPEND	1

/**
 * struct protheap_hand_over - one dma-buf for one GPU
 * @device:	name of the GPU's platform device, which is that of its directory in configfs, terminated by NUL.
 *		mkdir refuses longer names (ENAMETOOLONG).
 * @fd:		the dma-buf. The module takes its own reference; the caller may close the descriptor.
 * @kind:	PROTHEAP_FIRMWARE or PROTHEAP_SUSPEND
 * @flags:	must be 0
 */
struct protheap_hand_over {
	__u8  device[64];
	__s32 fd;
	__u32 kind;
	__u64 flags;
};

/*
 * Hand a buffer over. Errors: EPERM (the caller is neither root nor has CAP_SYS_ADMIN), EINVAL (device name,
 * unknown kind or flags, or not a dma-buf), EBADF (not a descriptor), ENODEV (no binding of that device), EOPNOTSUPP
 * (the binding's source is not `handed`), EMSGSIZE (too small), EMEDIUMTYPE (the CPU can map it), EEXIST (handed over
 * before), EXDEV (another exporter than the binding's first buffer's), EBUSY (too late, or a second one of its kind),
 * ENOSPC (more than suspend_count), EAGAIN (the system is about to hibernate).
 */
#define PROTHEAP_IOCTL_HAND_OVER	_IOW(0xBB, 0x01, struct protheap_hand_over)

#endif /* _UAPI_PROTHEAP_H */
