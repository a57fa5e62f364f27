# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with systemd, the binder of the initrd binds the heap of a real OP-TEE, on SMC and on FF-A, before panthor probes
# init: systemd
# tee: static, ffa
# limit: 240

is_in_use() { holds "$CONFIG/$GPU/state" in-use; }

check "$TEE: the GPU uses its binding" wait_until 10 is_in_use
check "$TEE: panthor probes after the binding was committed" at_least "$(kernel_us "panthor $GPU")" "$(kernel_us 'protheap: bound to')"
check "$TEE: no hold times out" empty kernel_log "$HOLD_TIMED_OUT"
check "$TEE: the initrd binds before the switch of root" at_least "$(unit_us initrd-switch-root.service starting initrd)" "$(kernel_us 'protheap: bound to')"
check "$TEE: the binding has the heap of the policy" is "$(attr heap)" protected,secure-video
check "$TEE: the daemon adopts the binding" wait_until 5 ends in-use adopted
check "$TEE: no unit has failed" empty failed_units
say "OP-TEE $(tee_revision)"
