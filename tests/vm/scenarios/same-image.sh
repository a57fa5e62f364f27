# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with the same kernel and initrd, each board applies its own policy
# board: rk3588 imx95 mt8196

case $BOARD in
rk3588) key=rockchip,rk3588 gpu=fb000000.gpu ;;
imx95) key=fsl,imx95 gpu=4d900000.gpu ;;
mt8196) key=mediatek,mt8196 gpu=f8000000.gpu ;;
esac
load_tee
load_protheap
run_binder
check 'the GPU is the one of this board' is "$GPU" $gpu
check 'the policy of the board and the default apply' is "$(state_of /policies)" "[\"$key\",\"default\"]"
check 'the binder binds by the policy of the board' is "$BINDER_STATUS $(attr state) $(state_of /gpus/0/policy)" "0 bound $key"
load_gpu
check 'the GPU uses its buffers' is "$(attr state)" in-use
