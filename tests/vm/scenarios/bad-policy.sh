# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the board's own policy has a syntax error: it is told with line and column, and the rest applies

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
check 'the boot goes on' is "$BINDER_STATUS" 0
check 'the fault is told as compilers do' like "$(cat /run/binder.log)" "*$file:[34]:*: error: *"
check 'with the line shown' like "$(cat /run/binder.log)" '*4 | hold = "1s"*'
check 'state.json names the file' is "$(state_of /refused/0/path)" "$file"
check 'the line' like "$(state_of /refused/0/line)" '[34]'
check 'and the column' at_least "$(state_of /refused/0/column)" 1
check 'the rest of the cascade applies' is "$(state_of /policies/0)" rockchip,rk3588
check 'and binds' is "$(attr state)" bound
