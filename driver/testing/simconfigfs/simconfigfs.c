// SPDX-License-Identifier: GPL-2.0
/* A configfs subsystem that does nothing but take the name of another one. For tests only. */
#include <linux/configfs.h>
#include <linux/module.h>
#include <linux/mutex.h>

static char *name = "protheap";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "Name of the subsystem");

static const struct config_item_type type = {
	.ct_owner = THIS_MODULE,
};

static struct configfs_subsystem subsystem;

static int __init simconfigfs_init(void)
{
	config_group_init_type_name(&subsystem.su_group, name, &type);
	mutex_init(&subsystem.su_mutex);
	return configfs_register_subsystem(&subsystem);
}
module_init(simconfigfs_init);

static void __exit simconfigfs_exit(void)
{
	configfs_unregister_subsystem(&subsystem);
	mutex_destroy(&subsystem.su_mutex);
}
module_exit(simconfigfs_exit);

MODULE_DESCRIPTION("configfs subsystem of any name, for tests");
MODULE_LICENSE("GPL");
