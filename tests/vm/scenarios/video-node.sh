# SPDX-License-Identifier: MIT OR Apache-2.0
# about: what a player has open leads to the hardware: decoder and GPU, and nothing where there is none

load_video
NUMBER=$(cat /sys/class/video4linux/video0/dev)
check 'a player can open the decoder, and ask what it is' is "$(protheap-guest querycap /dev/video0)" 'simvideo video-m2m'
VIDEO=$(readlink -f "/sys/dev/char/$NUMBER")
check 'its number leads to the video node' like "$VIDEO" '/sys/devices/*/video4linux/video0'
check 'which is of the decoder' is "$(tr '\0' ' ' <"$VIDEO/../../of_node/compatible")" 'rockchip,rk3588-vdec '
check 'Protheap finds it' is "$(protheap-guest node /dev/video0)" "$NUMBER fdc38000.video-codec rockchip,rk3588-vdec"

load_model
load_panthor
need wait_until 5 gpu_probed
for node in /dev/dri/renderD128 /dev/dri/card0; do
	check "and the GPU behind $node" like "$(protheap-guest node $node)" "226:* $GPU rockchip,rk3588-mali arm,mali-valhall-csf"
done
for node in /dev/dma_heap/system /dev/null; do
	check "no hardware is behind $node" like "$(protheap-guest node $node)" 'no hardware is behind *'
done

# A player keeps it open over the end of its driver.
exec 9<>/dev/video0
need protheap-guest write /sys/bus/platform/drivers/simvideo/unbind fdc38000.video-codec
check 'a decoder that has gone has no number' like "$(cat "/sys/dev/char/$NUMBER/dev" 2>&1)" '*No such file*'
exec 9>&-
check 'and its module can go' rmmod simvideo
