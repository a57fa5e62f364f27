# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the module is unloaded while its own work lets the GPU probe that waited for a binding: it waits for that
# smp: 2

load_protheap
load_gpu
need protheap-guest unload "$GPU" "$(modinfo -n protheap)" 30
check 'now and then the driver had no time to keep the module' at_least "$seen" 3
load_gpu
check 'it is as good as new' protheap-guest mkdir "$CONFIG/$GPU"
