# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a lower candidate is there, and the higher one never comes: the lower one is bound at the last call

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
check 'the lower one is bound' is "$(attr state) $(attr heap)" 'bound system'
check 'at the last call' at_least "$(state_of /gpus/0/held_us)" 1500000
check 'within the hold' at_most "$(state_of /gpus/0/held_us)" 2000000
