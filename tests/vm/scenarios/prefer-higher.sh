# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the binder waits for a higher candidate that can still appear, although a lower one exists
# source: kernel, handed

load_protheap
policy radxa,rock-5b <<'END'
schema = 1
[gpu."arm,mali-valhall-csf"]
heaps = [{ name = "protected,secure-video" }, { name = "system" }]
hold = "2s"
allow-unprotected = true
END
load_tee delay_ms=700
start_binder
check 'the binder does not bind the lower candidate at once' is "$(attr state)" held
end_binder
check 'the binder binds the higher candidate when it appears' is "$(attr state) $(attr heap)" 'bound protected,secure-video'
