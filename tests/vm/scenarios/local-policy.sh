# SPDX-License-Identifier: MIT OR Apache-2.0
# about: what root alone did not write, and under lockdown what is not of the image, neither replaces, refines nor masks a policy

OTHER='protected,trusted-ui'
# What every file of /etc wants: the other heap.
wish() {
	printf 'schema = 1\n[gpu."%s"]\nheaps = [{ name = "%s" }]\nsuspend = { count = 3 }\n' "$GPU" "$OTHER" >"$1"
}
# bound_to HEAP: what the binder binds
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
check 'policies in /etc and /run count' bound_to "$OTHER"

chmod 666 /etc/protheap/policies/*.toml /etc/protheap/policies/*/* /run/protheap/policies/*
check 'those that others can write to do not' bound_to protected,secure-video
check 'not a value of theirs' is "$(state_of /gpus/0/suspend_count)" 16
check 'each is told' like "$(cat /run/binder.log)" '*rockchip,rk3588.toml: can be written*rock-5b.toml: can be written*'
check 'and why' like "$(state_of /refused)" '*(mode 0666)*rock-5b.toml*'
chmod 644 /etc/protheap/policies/*.toml /etc/protheap/policies/*/* /run/protheap/policies/*
chown 1000 /etc/protheap/policies/*.toml /etc/protheap/policies/*/* /run/protheap/policies/*
check 'nor those that belong to others' bound_to protected,secure-video
chown -R 0 /etc/protheap /run/protheap
chmod 777 /etc/protheap/policies /etc/protheap/policies/*.d /run/protheap/policies
check 'nor any in directories that others can write to' bound_to protected,secure-video
chmod 755 /etc/protheap/policies /etc/protheap/policies/*.d /run/protheap/policies
check 'when all is as it should be, they count again' bound_to "$OTHER"


mv /etc/protheap/policies/radxa,rock-5b.toml /run/own.toml
mkdir -p /srv/theirs
ln -s /dev/null /srv/theirs/mask.toml
for name in radxa,rock-5b.toml rockchip,rk3588.toml rockchip,rk3588.toml.d default.toml; do
	rm -rf "/etc/protheap/policies/$name"
	ln -s /srv/theirs/mask.toml "/etc/protheap/policies/$name"
done
rm /run/protheap/policies/default.toml
chown 1000 /srv/theirs
check 'a link that others can lead elsewhere masks nothing' bound_to protected,secure-video
check 'and is told' like "$(state_of /refused)" '*leads through /srv/theirs, which belongs to user 1000*'
rm /etc/protheap/policies/*
cp /run/own.toml /run/protheap/policies/default.toml
mkdir /etc/protheap/policies/rockchip,rk3588.toml.d
cp /run/own.toml /etc/protheap/policies/rockchip,rk3588.toml.d/wish.toml
: >/etc/protheap/policies/rockchip,rk3588.toml
mv /run/own.toml /etc/protheap/policies/radxa,rock-5b.toml
check 'what is as it should be counts as before' bound_to "$OTHER"

echo 'local-policy = "never"' >/usr/lib/protheap/image.toml
check 'unless the image says never' bound_to protected,secure-video
check 'an entry for each directory says so' is "$(state_of /refused | grep -o 'does not count' | wc -l)" 2
echo 'local-policy = "perhaps"' >/usr/lib/protheap/image.toml
check 'a word that is none means never' bound_to protected,secure-video
check 'and is told' like "$(state_of /refused)" '*1:16: expected*image.toml*'
rm /usr/lib/protheap/image.toml

echo integrity >/sys/kernel/security/lockdown
check 'under lockdown they do not count' bound_to protected,secure-video
check 'not a value of theirs' is "$(state_of /gpus/0/suspend_count)" 16
check 'protheapctl explains it: untrusted' is "$(explained /considered | grep -o untrusted | wc -l)" 4
check 'and what applies' is "$(explained /policies/0/key) $(explained /policies/1/key)" 'rockchip,rk3588 default'
check 'and what that comes to' is "$(explained /gpus/0/decision)" protected,secure-video
echo 'local-policy = "always"' >/usr/lib/protheap/image.toml
check 'unless the image says always' bound_to "$OTHER"
check 'which protheapctl explains too' is "$(explained /gpus/0/decision)" "$OTHER"
