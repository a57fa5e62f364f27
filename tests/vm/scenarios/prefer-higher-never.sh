# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the binder binds a lower candidate near the end of the hold when the higher one does not appear

load_protheap
policy radxa,rock-5b <<'END'
schema = 1
[gpu."arm,mali-valhall-csf"]
heaps = [{ name = "protected,trusted-ui" }, { name = "system" }]
hold = "2s"
allow-unprotected = true
END
load_tee delay_ms=-1
run_binder
check 'the binder binds the lower candidate' is "$(attr state) $(attr heap)" 'bound system'
check 'the binder waits for the higher candidate' at_least "$(state_of /gpus/0/held_us)" 1500000
check 'the binder binds before the hold times out' at_most "$(state_of /gpus/0/held_us)" 2000000
