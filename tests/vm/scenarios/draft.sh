# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a board that no policy knows: from a draft to a bound GPU, by what protheapctl says

said() { cat /run/said; }
ctl() { protheapctl "$@" >/run/said 2>&1; }
NAME=/etc/protheap/policies/radxa,rock-5b.toml

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
only_default_policy
run_binder
need ends unprotected no-policy
check 'explain says that a policy is wanted' ctl explain
check 'and why' like "$(said)" '*no heap: no-policy (several heaps fit*name one in a policy of the board*'

check 'a draft can be had' eval 'protheapctl draft >/tmp/draft.toml'
check 'it says what its name is to be' like "$(cat /tmp/draft.toml)" "# Draft of $NAME*"
check 'it has judged the heaps' is "$(grep -c 'cannot be mapped; exporter tee' /tmp/draft.toml)" 4
check 'and left out those that protect nothing' like "$(cat /tmp/draft.toml)" '*#   system: its memory can be mapped*'
check 'it leaves nothing allocated' is "$(buffers)" 0
mkdir -p /etc/protheap/policies
sed 's/mali-valhall-csf"\]/mali-valhal-csf"]/' /tmp/draft.toml >/etc/protheap/policies/default.toml
mv /tmp/draft.toml /etc/protheap/policies/radxa,rock5b.toml
check 'explain sees wrong turns' ctl explain
check 'a name that is none of the board' like "$(said)" '*radxa,rock5b.toml*did you mean radxa,rock-5b?*'
check 'and a table for no GPU of its' like "$(said)" '*[[]gpu."arm,mali-valhal-csf"[]]: did you mean arm,mali-valhall-csf?*'
rm /etc/protheap/policies/default.toml
mv /etc/protheap/policies/radxa,rock5b.toml "$NAME"
# The order is for somebody who knows the board.
sed -i '/name = "protected,secure-video"/d' "$NAME"
check 'explain says which heap that means' ctl explain
check 'the one that is left' like "$(said)" '*decision   protected,trusted-ui*'
run_binder
check 'and that is bound' is "$(attr state) $(attr heap)" 'bound protected,trusted-ui'
check 'by the draft' is "$(state_of /gpus/0/policy)" radxa,rock-5b
load_gpu
check 'the GPU has it' gpu_probed
check 'explain says so, of what the last run did' ctl explain
check 'and what came of the heap' like "$(said)" '*last run   bound: protected,trusted-ui*: chosen: exporter tee*'
protheapctl draft >/tmp/again.toml
check 'a draft of a board that is bound names its heap as well' is "$(grep -c '{ name = "protected,trusted-ui" }' /tmp/again.toml)" 1
