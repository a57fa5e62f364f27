# SPDX-License-Identifier: MIT OR Apache-2.0
# about: unloading the module waits for its work item that probes the GPU which was held
# linux: 7.2, 7.3
# smp: 2

load_protheap
load_gpu
need protheap-guest unload "$GPU" "$(modinfo -n protheap)" 30
check 'the module was unloaded at least 3 times before the driver could pin it' at_least "$seen" 3
load_gpu
check 'the module makes a binding when it is loaded again' protheap-guest mkdir "$CONFIG/$GPU"
