# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the binder reports a syntax error in the policy of the board with line and column, and applies the other policies

load_tee
load_protheap
policy radxa,rock-5b <<'END'
schema = 1
[gpu."arm,mali-valhall-csf"]
heaps = [{ name = "secure" }
hold = "1s"
END
run_binder
file=/etc/protheap/policies/radxa,rock-5b.toml
check 'the binder exits with status 0 despite the syntax error' is "$BINDER_STATUS" 0
check 'the binder reports the error as FILE:LINE:COLUMN' like "$(cat /run/binder.log)" "*$file:[34]:*: error: *"
check 'the binder prints the line with the error' like "$(cat /run/binder.log)" '*4 | hold = "1s"*'
check 'state.json has the path of the refused file' is "$(state_of /refused/0/path)" "$file"
check 'state.json has the line of the error' like "$(state_of /refused/0/line)" '[34]'
check 'state.json has the column of the error' at_least "$(state_of /refused/0/column)" 1
check 'the binder applies the policy of the SoC' is "$(state_of /policies/0)" rockchip,rk3588
check 'the binder binds the heap of the SoC policy' is "$(attr state)" bound
