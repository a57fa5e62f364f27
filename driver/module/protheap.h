/* SPDX-License-Identifier: GPL-2.0 or MIT */
/*
 * Protected buffers for the drivers of Mali CSF GPUs.
 *
 * Look up these functions with symbol_get(): if protheap.ko is not loaded, the
 * GPU runs without protected mode. Keep each symbol until everything that was
 * obtained through it has been released. All functions may sleep.
 *
 * symbol_get() compares neither prototypes nor structures. The prototype of
 * protheap_attach() therefore never changes, and the version that it is passed
 * covers everything else.
 */
#ifndef _PROTHEAP_H
#define _PROTHEAP_H

#include <linux/types.h>

struct device;
struct dma_buf;

/* Version of this file: of all structures, and of all functions except protheap_attach(). */
#define PROTHEAP_ABI	1

/** struct protheap - a GPU driver's attachment to its device's binding */
struct protheap;

/**
 * struct protheap_ops - functions of an attached driver
 * @bound: the device was bound after protheap_attach(): take the firmware buffer
 *	and boot the firmware again. Called from a work item with the device's
 *	lock held, so probe has ended and remove has not begun. The work item
 *	is freezable: the system does not suspend meanwhile.
 *	May be NULL. May call all functions below except protheap_detach().
 * @release: the system is about to hibernate, or a binding on demand is idle:
 *	stop using the firmware buffer, boot the firmware again without it, and call
 *	protheap_firmware_put(). There is no protected group, and no suspend
 *	buffer can be taken. @bound is called when there is a buffer again.
 *	Called like @bound. If it is NULL, or if the buffer is still in use when
 *	it returns, the system does not hibernate.
 */
struct protheap_ops {
	void (*bound)(struct device *dev);
	void (*release)(struct device *dev);
};

/**
 * struct protheap_suspend - suspend buffer that was taken from the binding
 * @dmabuf: the buffer, without a reference of its own; valid until
 *	protheap_suspend_put()
 */
struct protheap_suspend {
	struct dma_buf *dmabuf;
};

/**
 * protheap_attach() - attach a driver to its device
 * @dev:	the GPU
 * @ops:	may be NULL; must stay valid until protheap_detach()
 * @abi:	PROTHEAP_ABI
 *
 * Call it first in probe, before clocks and power are enabled.
 *
 * Return: the attachment, also if the device is not bound to a heap;
 * ERR_PTR(-EPROBE_DEFER) while it is held (it is probed again after the hold);
 * ERR_PTR(-EPROTONOSUPPORT) if protheap.ko has another version of this file;
 * ERR_PTR(-EBUSY) if a driver is already attached; ERR_PTR(-ENOMEM).
 */
struct protheap *protheap_attach(struct device *dev, const struct protheap_ops *ops, u32 abi);

/**
 * protheap_detach() - end an attachment; waits for a running function of @ops
 * @protheap:	the attachment; the firmware buffer must no longer be in use.
 *	Suspend buffers may outlive it.
 */
void protheap_detach(struct protheap *protheap);

/**
 * protheap_firmware_buffer() - get the buffer for the firmware's protected section
 * @protheap:	the attachment
 * @size:	bytes that the section needs
 *
 * Return: a new reference to the same buffer at each call, to be released with
 * dma_buf_put(); ERR_PTR(-ENOENT) if the device is not bound to a heap;
 * ERR_PTR(-EMSGSIZE) if the buffer is too small.
 */
struct dma_buf *protheap_firmware_buffer(struct protheap *protheap, size_t size);

/**
 * protheap_firmware_put() - stop using the firmware buffer
 * @protheap:	the attachment
 *
 * For a driver that failed to map the buffer, or that releases it before it
 * detaches. The references from protheap_firmware_buffer() must have been put.
 */
void protheap_firmware_put(struct protheap *protheap);

/**
 * protheap_on_demand() - check if protheap_suspend_get() binds the device
 * @protheap:	the attachment
 *
 * Return: 1 if the device is not bound and user space binds it on demand, otherwise 0.
 */
int protheap_on_demand(struct protheap *protheap);

/**
 * protheap_suspend_configure() - set the size of suspend buffers
 * @protheap:	the attachment
 * @size:	bytes that the running firmware reports, instead of the size in
 *	the policy; smaller buffers are replaced, the others remain
 *
 * New buffers are allocated asynchronously: protheap_suspend_get() waits for
 * them.
 *
 * Return: 0, or -ENOENT if the device is not bound to a heap.
 */
int protheap_suspend_configure(struct protheap *protheap, size_t size);

/**
 * protheap_suspend_get() - take a suspend buffer for a new protected group
 * @protheap:	the attachment
 * @held:	number of suspend buffers that the group's client already holds;
 *	a client is an open file of the driver's node
 * @limit:	maximum number of suspend buffers per client, or 0 for half of those
 *	that the binding has, but at least 1
 *
 * Waits for a free buffer for at most 100 ms, interruptibly. If the device is bound
 * on demand, asks user space to bind it first, and waits for at most 2 s until
 * @bound has returned. Not to be called while a fence depends on its return.
 *
 * Return: the buffer; ERR_PTR(-ENOENT) if the device is not bound to a heap;
 * ERR_PTR(-ENOBUFS) if none became free; ERR_PTR(-EDQUOT) if the client holds as
 * many as it may; ERR_PTR(-ERESTARTSYS).
 */
struct protheap_suspend *protheap_suspend_get(struct protheap *protheap,
					      unsigned int held, unsigned int limit);

/**
 * protheap_suspend_put() - return a suspend buffer to the binding
 * @suspend:	the buffer, or NULL
 *
 * Valid after protheap_detach(), because groups outlive unbind. It may sleep, and
 * takes locks under which memory is allocated: not to be called in reclaim.
 */
void protheap_suspend_put(struct protheap_suspend *suspend);

#endif /* _PROTHEAP_H */
