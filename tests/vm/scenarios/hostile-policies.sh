# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the binder skips and reports policies that are pipes, directories, circular links, too large, or binary

load_tee
load_protheap
mkdir -p /etc/protheap/policies/rockchip,rk3588.toml.d
cd /etc/protheap/policies || exit 1
mkfifo rockchip,rk3588.toml.d/pipe.toml
mkdir rockchip,rk3588.toml.d/directory.toml
ln -s loop.toml rockchip,rk3588.toml.d/loop.toml
head -c 20000000 /dev/zero >rockchip,rk3588.toml.d/huge.toml
head -c 4096 /dev/urandom >rockchip,rk3588.toml.d/binary.toml
ln -s /dev/null rockchip,rk3588.toml.d/masked.toml
ln -s /dev/zero rockchip,rk3588.toml.d/zero.toml
printf 'schema = 1\n[gpu."arm,mali-valhall-csf"]\nheaps = [{ name = "a\\nb" }]\n' >rockchip,rk3588.toml.d/newline.toml
cd /
run_binder
check 'the binder exits with status 0 despite invalid policies' is "$BINDER_STATUS" 0
check 'the binder binds by the policy of the SoC' is "$(attr state) $(state_of /gpus/0/policy)" 'bound rockchip,rk3588'
for name in pipe directory loop huge binary zero newline; do
	check "state.json reports $name.toml as refused" like "$(state_of /refused)" "*/$name.toml*"
done
state_of /refused >/run/refused
check 'state.json does not report masked.toml as refused' empty matching /run/refused masked.toml
check 'the binder reports the line and the column of a fault' like "$(cat /run/binder.log)" '*newline.toml:3:19: error: the heap*'
