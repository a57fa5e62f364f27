# SPDX-License-Identifier: MIT OR Apache-2.0
# about: protheap.ko cannot be unloaded while a binding, a driver or a group needs it
# source: kernel, handed
# tee: sim, dynamic

load_tee
load_protheap
load_gpu
pinned() { ! rmmod protheap 2>/dev/null && exists /sys/module/protheap; }
check 'a driver that attached pins it' pinned
need modprobe -r csfgpu
load_protheap
need mkdir "$CONFIG/$GPU"
check 'an open binding pins it' pinned
need rmdir "$CONFIG/$GPU"
make_binding protected,secure-video 65536 1
check 'a bound one does' pinned
load_gpu
need create_group
need keep_group
need unbind_gpu
need rmdir "$CONFIG/$GPU"
check 'a group without binding and driver does' pinned
need destroy_kept
need rmmod csfgpu
check 'and nothing pins it' rmmod protheap
check 'every byte is back' wait_until 2 is_zero given_out
