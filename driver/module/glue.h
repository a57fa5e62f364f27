/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C macros and inline functions that the Rust code of protheap.ko calls. No policy.
 */
#ifndef _PROTHEAP_GLUE_H
#define _PROTHEAP_GLUE_H

#include <linux/workqueue.h>

struct device;
struct dma_buf;

/* Initialises @work to run @run. */
void protheap_glue_init_work(struct delayed_work *work, work_func_t run, const char *name,
			     struct lock_class_key *key);

/* The lock under which a device is probed and removed. */
void protheap_glue_lock_device(struct device *dev);
int protheap_glue_lock_device_interruptible(struct device *dev);
bool protheap_glue_trylock_device(struct device *dev);
void protheap_glue_unlock_device(struct device *dev);

/* Returns whether the kernel is locked down at `integrity` or above; inline without CONFIG_SECURITY. */
bool protheap_glue_locked_down(void);

/* Returns whether the calling task may hand buffers over: it is of root, or has CAP_SYS_ADMIN. */
bool protheap_glue_may_hand_over(void);

/* Returns whether the kernel lets modules find heaps. */
bool protheap_glue_has_heaps(void);

/* Allocates a buffer from the heap of that name. Returns -ENODEV if there is none, or the heap's error. */
struct dma_buf *protheap_glue_allocate(const char *heap, size_t bytes);

/* Why protected buffers must return to their heap: `Cause` in Rust. */
enum protheap_cause {
	PROTHEAP_SHUT_DOWN,	/* the machine restarts, or another kernel is started */
	PROTHEAP_TAKE_IMAGE,	/* an image of the kernel is taken */
	PROTHEAP_RESTORE_IMAGE,	/* an image replaces the kernel */
	PROTHEAP_TEE_LEAVES,	/* OP-TEE's driver is unbound */
};

/* Registers notifiers that call protheap_evacuate() before one of these, and protheap_repopulate() after it. */
int protheap_glue_watch(void);
void protheap_glue_unwatch(void);

/* In Rust. */
int protheap_evacuate(enum protheap_cause cause);
void protheap_repopulate(enum protheap_cause cause);
bool protheap_device_removed(struct device *dev);
void protheap_forget_removed(void);

#endif /* _PROTHEAP_GLUE_H */
