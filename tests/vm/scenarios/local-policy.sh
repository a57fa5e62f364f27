# SPDX-License-Identifier: MIT OR Apache-2.0
# about: files that other users can write, and under lockdown files outside the image, never replace, refine or mask a policy

OTHER='protected,trusted-ui'
# wish FILE: writes a policy that names the other heap
wish() {
	printf 'schema = 1\n[gpu."%s"]\nheaps = [{ name = "%s" }]\nsuspend = { count = 3 }\n' "$GPU" "$OTHER" >"$1"
}
# bound_to HEAP: the binder binds that heap
bound_to() {
	run_binder
	is "$(attr heap) $(state_of /gpus/0/heap)" "$1 $1" && rmdir "$CONFIG/$GPU"
}
explained() { protheapctl explain --json >/run/explain.json && protheap-guest get /run/explain.json "$1"; }

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
mkdir -p /etc/protheap/policies/rockchip,rk3588.toml.d /run/protheap/policies
wish /etc/protheap/policies/radxa,rock-5b.toml
wish /etc/protheap/policies/rockchip,rk3588.toml.d/wish.toml
wish /run/protheap/policies/default.toml
: >/etc/protheap/policies/rockchip,rk3588.toml
check 'policies in /etc and /run apply' bound_to "$OTHER"

chmod 666 /etc/protheap/policies/*.toml /etc/protheap/policies/*/* /run/protheap/policies/*
check 'policies that other users can write to do not apply' bound_to protected,secure-video
check 'no value of a refused policy applies' is "$(state_of /gpus/0/suspend_count)" 16
check 'the binder logs each policy that other users can write to' like "$(cat /run/binder.log)" '*rockchip,rk3588.toml: is writable by*rock-5b.toml: is writable by*'
check 'state.json has the mode of each refused policy' like "$(state_of /refused)" '*(mode 0666)*rock-5b.toml*'
chmod 644 /etc/protheap/policies/*.toml /etc/protheap/policies/*/* /run/protheap/policies/*
chown 1000 /etc/protheap/policies/*.toml /etc/protheap/policies/*/* /run/protheap/policies/*
check 'policies that belong to other users do not apply' bound_to protected,secure-video
chown -R 0 /etc/protheap /run/protheap
chmod 777 /etc/protheap/policies /etc/protheap/policies/*.d /run/protheap/policies
check 'policies in directories that other users can write to do not apply' bound_to protected,secure-video
chmod 755 /etc/protheap/policies /etc/protheap/policies/*.d /run/protheap/policies
check 'policies of root in directories of root apply again' bound_to "$OTHER"


mv /etc/protheap/policies/radxa,rock-5b.toml /run/own.toml
mkdir -p /srv/theirs
ln -s /dev/null /srv/theirs/mask.toml
for name in radxa,rock-5b.toml rockchip,rk3588.toml rockchip,rk3588.toml.d default.toml; do
	rm -rf "/etc/protheap/policies/$name"
	ln -s /srv/theirs/mask.toml "/etc/protheap/policies/$name"
done
rm /run/protheap/policies/default.toml
chown 1000 /srv/theirs
check 'a link through a directory of another user masks no policy' bound_to protected,secure-video
check 'state.json reports the link through a directory of another user' like "$(state_of /refused)" '*leads through /srv/theirs, which is owned by user 1000*'
rm /etc/protheap/policies/*
cp /run/own.toml /run/protheap/policies/default.toml
mkdir /etc/protheap/policies/rockchip,rk3588.toml.d
cp /run/own.toml /etc/protheap/policies/rockchip,rk3588.toml.d/wish.toml
: >/etc/protheap/policies/rockchip,rk3588.toml
mv /run/own.toml /etc/protheap/policies/radxa,rock-5b.toml
check 'policies of root apply as before' bound_to "$OTHER"

echo 'local-policy = "never"' >/usr/lib/protheap/image.toml
check 'local policies do not apply if the image sets local-policy to never' bound_to protected,secure-video
check 'state.json has one entry for each local directory that does not apply' is "$(state_of /refused | grep -o 'ignored: ' | wc -l)" 2
echo 'local-policy = "perhaps"' >/usr/lib/protheap/image.toml
check 'an invalid value of local-policy means never' bound_to protected,secure-video
check 'state.json reports the invalid value of local-policy' like "$(state_of /refused)" '*1:16: expected*image.toml*'
rm /usr/lib/protheap/image.toml

echo integrity >/sys/kernel/security/lockdown
check 'local policies do not apply under lockdown' bound_to protected,secure-video
check 'no value of a local policy applies under lockdown' is "$(state_of /gpus/0/suspend_count)" 16
check 'protheapctl reports four local policies as untrusted' is "$(explained /considered | grep -o untrusted | wc -l)" 4
check 'protheapctl reports the policies that apply' is "$(explained /policies/0/key) $(explained /policies/1/key)" 'rockchip,rk3588 default'
check 'protheapctl selects the heap of the policies that apply' is "$(explained /gpus/0/decision)" protected,secure-video
echo 'local-policy = "always"' >/usr/lib/protheap/image.toml
check 'local policies apply under lockdown if the image sets local-policy to always' bound_to "$OTHER"
check 'protheapctl selects the heap of local policies if the image permits them' is "$(explained /gpus/0/decision)" "$OTHER"
