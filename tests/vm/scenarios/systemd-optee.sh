# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with systemd, the initrd's binder binds what a real OP-TEE has, by SMC and by FF-A, before panthor probes
# init: systemd
# tee: static, ffa
# limit: 240

is_in_use() { holds "$CONFIG/$GPU/state" in-use; }

check "$TEE: GPU is bound and in use" wait_until 10 is_in_use
check "$TEE: before panthor probes" at_least "$(kernel_us "panthor $GPU")" "$(kernel_us 'protheap: bound to')"
check "$TEE: no hold times out" empty kernel_log "$HOLD_TIMED_OUT"
check "$TEE: in the initrd" at_least "$(unit_us initrd-switch-root.service starting initrd)" "$(kernel_us 'protheap: bound to')"
check "$TEE: heap is the one of the policy" is "$(attr heap)" protected,secure-video
check "$TEE: daemon takes over" wait_until 5 ends in-use adopted
check "$TEE: no unit has failed" empty failed_units
say "OP-TEE $(tee_revision)"
