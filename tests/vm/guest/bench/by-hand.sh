# SPDX-License-Identifier: MIT OR Apache-2.0
#
# A script for one board, whose GPU, heap and sizes are constants, without policies. `by-hand.sh kernel` is for a kernel
# that allocates the buffers.
set -eu

GPU=fb000000.gpu
HEAP=protected,secure-video
DIR=/sys/kernel/config/protheap/$GPU
RUN=/run/protheap

grep -q rockchip,rk3588 /sys/firmware/devicetree/base/compatible
[ -d /sys/bus/platform/devices/$GPU ]
mkdir $DIR
echo 5000 >$DIR/hold_ms
[ -c /dev/dma_heap/$HEAP ]
echo $HEAP >$DIR/heap
echo 262144 >$DIR/firmware_bytes_wanted
echo 65536 >$DIR/suspend_bytes_wanted
echo 16 >$DIR/suspend_count
echo by-hand >$DIR/origin
[ "${1-}" = kernel ] || hand-over $GPU $HEAP 262144 65536 16
echo bind >$DIR/commit
read -r state <$DIR/state
[ "$state" = bound ]

mkdir -p $RUN/heaps
echo "{\"gpu\":\"$GPU\",\"heap\":\"$HEAP\",\"state\":\"$state\"}" >$RUN/.state.json
mv $RUN/.state.json $RUN/state.json
ln -s /dev/dma_heap/$HEAP $RUN/heaps/secure-video
