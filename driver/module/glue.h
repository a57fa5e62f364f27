/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What protheap.ko needs and Rust cannot say: macros and inline functions. No policy.
 */
#ifndef _PROTHEAP_GLUE_H
#define _PROTHEAP_GLUE_H

#include <linux/workqueue.h>

struct device;
struct dma_buf;

/* Prepares @work to run @run. */
void protheap_glue_init_work(struct delayed_work *work, work_func_t run);

/* The lock under which a device is probed and removed. */
void protheap_glue_lock_device(struct device *dev);
int protheap_glue_lock_device_interruptible(struct device *dev);
bool protheap_glue_trylock_device(struct device *dev);
void protheap_glue_unlock_device(struct device *dev);

/* Whether the kernel is locked down against its administrator; inline without CONFIG_SECURITY. */
bool protheap_glue_locked_down(void);

/* Whether the kernel has the functions that the next one needs. */
bool protheap_glue_has_heaps(void);

/* A buffer from the heap of that name; -ENODEV if there is none, or what the heap says. */
struct dma_buf *protheap_glue_allocate(const char *heap, size_t bytes);

/*
 * Calls protheap_shut_down() before the machine restarts or another kernel is started, protheap_prepare_image() before
 * an image of the kernel is taken, protheap_prepare_restore() before one is restored, protheap_repopulate() when that is
 * over, protheap_release_tee() before OP-TEE's driver is unbound, and protheap_repopulate_tee() after that. These are
 * Rust.
 */
int protheap_glue_watch(void);
void protheap_glue_unwatch(void);
void protheap_shut_down(void);
int protheap_prepare_image(void);
void protheap_prepare_restore(void);
void protheap_repopulate(void);
void protheap_release_tee(void);
void protheap_repopulate_tee(void);

#endif /* _PROTHEAP_GLUE_H */
