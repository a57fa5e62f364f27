# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protheap.ko fails to load while its name is taken in configfs, without an oops, and loads afterwards

need modprobe simconfigfs
# The kernel replaces EEXIST, which is for modules that are loaded already, in do_init_module().
check 'protheap does not load while its name is taken in configfs' like "$(modprobe protheap 2>&1)" '*Device or resource busy*'
check 'protheap is not loaded' absent /sys/module/protheap
check 'the other subsystem still exists' exists "$CONFIG"
need rmmod simconfigfs
check 'the other subsystem is removed' absent "$CONFIG"
check 'protheap loads afterwards' modprobe protheap
check 'the subsystem of protheap exists' exists "$CONFIG"
check 'protheap can be unloaded' rmmod protheap
