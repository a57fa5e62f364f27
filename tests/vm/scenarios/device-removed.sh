# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the module releases a device that was removed from the platform bus as soon as it has no binding
# linux: 7.2, 7.3
# source: handed

# A device that exists while the module is loaded.
DEVICE=removable.gpu
add() { need modprobe simvideo device=$DEVICE; }
remove() { need rmmod simvideo; }
# The file exists for as long as the module keeps the device.
KEPT=/sys/kernel/debug/protheap/$DEVICE

load_protheap
add
need mkdir "$CONFIG/$DEVICE"
need rmdir "$CONFIG/$DEVICE"
check 'the module keeps a device after its binding was withdrawn' exists $KEPT
remove
check 'the module releases a device that is removed' wait_until 2 absent $KEPT
add
need mkdir "$CONFIG/$DEVICE"
check 'a new device of the same name can be held' store hold_ms 10000 $DEVICE
remove
check 'the module keeps a removed device while it has a binding' exists $KEPT
check 'the binding of a removed device can be read' is "$(attr state $DEVICE)" held
need rmdir "$CONFIG/$DEVICE"
check 'the module releases a removed device when its binding is withdrawn' absent $KEPT
check 'a removed device gets no binding' like "$(mkdir "$CONFIG/$DEVICE" 2>&1)" '*No such device*'
need mkdir "$CONFIG/$GPU"
check 'the module knows the other devices' exists "/sys/kernel/debug/protheap/$GPU"
need rmdir "$CONFIG/$GPU"
check 'the module can be unloaded' rmmod protheap
