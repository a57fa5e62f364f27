# SPDX-License-Identifier: MIT OR Apache-2.0
# about: on a board without a policy, protheapctl leads from a draft to a bound GPU

said() { cat /run/said; }
ctl() { protheapctl "$@" >/run/said 2>&1; }
NAME=/etc/protheap/policies/radxa,rock-5b.toml

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
only_default_policy
run_binder
need ends unprotected no-policy
check 'explain exits with status 0 on a board without a policy' ctl explain
check 'explain reports no-policy and what to do' like "$(said)" '*no heap: no-policy (several heaps match; name one of them in a policy of the board*'

check 'protheapctl writes a draft' eval 'protheapctl draft >/tmp/draft.toml'
check 'the draft names its file' like "$(cat /tmp/draft.toml)" "# Draft of $NAME*"
check 'the draft lists the heaps that cannot be mapped' is "$(grep -c 'the CPU cannot map its memory; exporter tee' /tmp/draft.toml)" 4
check 'the draft leaves out heaps that can be mapped' like "$(cat /tmp/draft.toml)" '*#   system: not protected: the CPU can map its memory*'
check 'protheapctl leaves no buffer allocated' is "$(buffers)" 0
mkdir -p /etc/protheap/policies
sed 's/mali-valhall-csf"\]/mali-valhal-csf"]/' /tmp/draft.toml >/etc/protheap/policies/default.toml
mv /tmp/draft.toml /etc/protheap/policies/radxa,rock5b.toml
check 'explain exits with status 0 when policies have mistakes' ctl explain
check 'explain suggests the right name for a file that matches no board' like "$(said)" '*radxa,rock5b.toml*did you mean radxa,rock-5b?*'
check 'explain suggests the right table for a GPU that does not exist' like "$(said)" '*[[]gpu."arm,mali-valhal-csf"[]]: did you mean arm,mali-valhall-csf?*'
rm /etc/protheap/policies/default.toml
mv /etc/protheap/policies/radxa,rock5b.toml "$NAME"
# Only a person who knows the board can order the heaps.
sed -i '/name = "protected,secure-video"/d' "$NAME"
check 'explain exits with status 0 for the edited draft' ctl explain
check 'explain selects the heap of the draft' like "$(said)" '*decision   protected,trusted-ui*'
run_binder
check 'the binder binds the heap of the draft' is "$(attr state) $(attr heap)" 'bound protected,trusted-ui'
check 'state.json names the draft as the policy' is "$(state_of /gpus/0/policy)" radxa,rock-5b
load_gpu
check 'the GPU probes with the heap of the draft' gpu_probed
check 'explain exits with status 0 for a bound GPU' ctl explain
check 'explain reports the heap as bound by the last run' like "$(said)" '*last run   bound: protected,trusted-ui*: chosen: exporter tee*'
protheapctl draft >/tmp/again.toml
check 'a draft of a bound board names the bound heap' is "$(grep -c '{ name = "protected,trusted-ui" }' /tmp/again.toml)" 1
