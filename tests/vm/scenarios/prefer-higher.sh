# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a lower candidate is there, a higher one can still come: it is waited for
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
check 'the lower one is not taken at once' is "$(attr state)" held
end_binder
check 'the higher one is bound when it comes' is "$(attr state) $(attr heap)" 'bound protected,secure-video'
