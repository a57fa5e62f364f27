# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the binder reports invalid strings in the device tree, and applies the policies of the valid ones
# overlay: hostile

load_tee
load_protheap
run_binder
check 'the binder exits with status 0 despite invalid strings' is "$BINDER_STATUS" 0
check 'the binder applies the policy of the valid string' is "$(state_of /policies)" '["rockchip,rk3588","default"]'
check 'the binder binds the heap of the valid policy' is "$(attr state)" bound
check 'state.json reports the invalid strings' like "$(state_of /refused)" '*firmware/devicetree/base/compatible*'
check 'the binder reads nothing outside the policies' empty matching /run/binder.log passwd
