# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the number of an open device node leads to its hardware, decoder or GPU, or to none

load_video
NUMBER=$(cat /sys/class/video4linux/video0/dev)
check 'a player can open the decoder and query it' is "$(protheap-guest querycap /dev/video0)" 'simvideo video-m2m'
VIDEO=$(readlink -f "/sys/dev/char/$NUMBER")
check 'the number of the node leads to the video device' like "$VIDEO" '/sys/devices/*/video4linux/video0'
check 'the parent of the video device is the decoder' is "$(tr '\0' ' ' <"$VIDEO/../../of_node/compatible")" 'rockchip,rk3588-vdec '
check 'Protheap finds the decoder behind its node' is "$(protheap-guest node /dev/video0)" "$NUMBER fdc38000.video-codec rockchip,rk3588-vdec"

load_model
load_panthor
need wait_until 5 gpu_probed
for node in /dev/dri/renderD128 /dev/dri/card0; do
	check "Protheap finds the GPU behind $node" like "$(protheap-guest node $node)" "226:* $GPU rockchip,rk3588-mali arm,mali-valhall-csf"
done
for node in /dev/dma_heap/system /dev/null; do
	check "Protheap finds no hardware behind $node" like "$(protheap-guest node $node)" '* belongs to no hardware; *'
done

# A player keeps the node open while the driver is unbound.
exec 9<>/dev/video0
need protheap-guest write /sys/bus/platform/drivers/simvideo/unbind fdc38000.video-codec
check 'the number of the node leads nowhere when the driver is unbound' like "$(cat "/sys/dev/char/$NUMBER/dev" 2>&1)" '*No such file*'
exec 9>&-
check 'the driver of the decoder can be unloaded' rmmod simvideo
