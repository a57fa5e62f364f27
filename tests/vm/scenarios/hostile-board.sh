# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a device tree with strings that no board should have: they are told, and the rest applies
# overlay: hostile

load_tee
load_protheap
run_binder
check 'the boot goes on' is "$BINDER_STATUS" 0
check 'the good string applies' is "$(state_of /policies)" '["rockchip,rk3588","default"]'
check 'and binds' is "$(attr state)" bound
check 'the bad ones are told' like "$(state_of /refused)" '*firmware/devicetree/base/compatible*'
check 'the binder reads nothing outside the policies' empty matching /run/binder.log passwd
