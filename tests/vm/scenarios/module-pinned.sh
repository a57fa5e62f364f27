# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protheap.ko cannot be unloaded while a binding, a driver or a group uses it
# source: kernel, handed
# tee: sim, dynamic

load_tee
load_protheap
load_gpu
pinned() { ! rmmod protheap 2>/dev/null && exists /sys/module/protheap; }
check 'an attached driver pins the module' pinned
need modprobe -r csfgpu
load_protheap
need mkdir "$CONFIG/$GPU"
check 'an open binding pins the module' pinned
need rmdir "$CONFIG/$GPU"
make_binding protected,secure-video 65536 1
check 'a committed binding pins the module' pinned
load_gpu
need create_group
need keep_group
need unbind_gpu
need rmdir "$CONFIG/$GPU"
check 'a group without binding and driver pins the module' pinned
need destroy_kept
need rmmod csfgpu
check 'the module can be unloaded when nothing uses it' rmmod protheap
check 'the TEE has all memory back' wait_until 2 is_zero given_out
