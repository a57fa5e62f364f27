# SPDX-License-Identifier: MIT OR Apache-2.0
# about: an unknown lockdown state counts as lockdown, and a mount over the policies of the image is not a part of the image
# limit: 60

OTHER='protected,trusted-ui'
IMAGE=/usr/lib/protheap
wish() {
	printf 'schema = 1\n[gpu."%s"]\nheaps = [{ name = "%s" }]\nsuspend = { count = 3 }\n' "$GPU" "$OTHER" >"$1"
}
# bound_to HEAP: the binder binds that heap. unbound: it binds none.
bound_to() {
	run_binder
	is "$(attr heap) $(state_of /gpus/0/heap)" "$1 $1" && rmdir "$CONFIG/$GPU"
}
unbound() {
	heap=none
	run_binder
	if [ -d "$CONFIG/$GPU" ]; then
		heap=$(attr heap)
		rmdir "$CONFIG/$GPU"
	fi
	is "$heap $(state_of /gpus/0/reason)" 'none no-policy'
}
# mounted SOURCE TARGET COMMAND...: runs the command while SOURCE is mounted on TARGET
mounted() {
	need mount --bind "$1" "$2"
	target=$2
	shift 2
	"$@"
	result=$?
	need umount "$target"
	return $result
}
explained() { protheapctl explain --json >/run/explain.json && protheap-guest get /run/explain.json "$1"; }
reported_distrust() { like "$(cat /run/binder.log)" "*$1: ignored: its directory is on another mount than /usr*"; }
mounted_drop_ins() {
	mkdir -p "$IMAGE/policies/rockchip,rk3588.toml.d"
	mounted /run/other "$IMAGE/policies/rockchip,rk3588.toml.d" bound_to protected,secure-video
}
mounted_lib() {
	mkdir -p /run/lib
	# The programs in the guest need their libraries there.
	cp -a $IMAGE /usr/lib/ld-linux-* /usr/lib/aarch64-linux-gnu /run/lib
	wish "/run/lib/protheap/policies/radxa,rock-5b.toml"
	mounted /run/lib /usr/lib unbound
}
reported() { like "$(cat /run/binder.log)" "*$1: is on another mount than /usr*"; }

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
mkdir -p /etc/protheap/policies /run/other /run/empty
wish /etc/protheap/policies/radxa,rock-5b.toml
check 'without lockdown, policies in /etc apply' bound_to "$OTHER"
check 'protheap.ko reports that there is no lockdown' is "$(cat "$CONFIG/locked_down")" 0
need umount /sys/kernel/security
check 'without securityfs, policies in /etc apply if protheap.ko reports no lockdown' bound_to "$OTHER"
check 'without securityfs, protheapctl reports that there is no lockdown' is "$(explained /kernel/lockdown)" false
need rmmod protheap
check 'without securityfs and protheap.ko, protheapctl reports lockdown' is "$(explained /kernel/lockdown)" true
load_protheap
need mount -t securityfs securityfs /sys/kernel/security

cp -a $IMAGE /run/copy
wish "/run/other/radxa,rock-5b.toml"
check 'without lockdown, a mount over the directory of policies applies' mounted /run/other $IMAGE/policies bound_to "$OTHER"
check 'the binder reports the mount over the directory' reported $IMAGE/policies
rm /etc/protheap/policies/*
: >$IMAGE/policies/radxa,rock-5b.toml
check 'without lockdown, a mount over a policy applies' mounted /run/other/radxa,rock-5b.toml $IMAGE/policies/radxa,rock-5b.toml bound_to "$OTHER"
check 'the binder reports the mount over a policy' reported $IMAGE/policies/radxa,rock-5b.toml
wish /etc/protheap/policies/radxa,rock-5b.toml

echo 'local-policy = "never"' >$IMAGE/image.toml
check 'local-policy = never: policies in /etc do not apply' bound_to protected,secure-video
check 'local-policy = never: a mount over the directory of policies does not apply' mounted /run/other $IMAGE/policies unbound
check 'local-policy = never: a mount over a policy does not apply' mounted /run/other/radxa,rock-5b.toml $IMAGE/policies/radxa,rock-5b.toml bound_to protected,secure-video
check 'local-policy = never: a copy of the image mounted over it does not apply' mounted /run/copy $IMAGE unbound
check 'local-policy = never: an empty directory mounted over the image changes nothing' mounted /run/empty $IMAGE unbound
: >/run/empty.toml
check 'local-policy = never: an empty file mounted over image.toml changes nothing' mounted /run/empty.toml $IMAGE/image.toml bound_to protected,secure-video
check 'the binder reports the mount over image.toml' reported $IMAGE/image.toml
rm $IMAGE/image.toml

echo integrity >/sys/kernel/security/lockdown
cat "$CONFIG/locked_down" >/dev/null
check 'the kernel logs the level of lockdown that protheap.ko asks for' like "$(dmesg | grep 'Lockdown: cat:')" '*integrity is restricted*'
check 'under lockdown, policies in /etc do not apply' bound_to protected,secure-video
check 'protheap.ko reports that there is lockdown' is "$(cat "$CONFIG/locked_down")" 1
need umount /sys/kernel/security
check 'under lockdown without securityfs, policies in /etc do not apply' bound_to protected,secure-video
check 'under lockdown without securityfs, protheapctl reports lockdown' is "$(explained /kernel/lockdown)" true
need mount -t tmpfs none /sys/kernel/security
check 'under lockdown, a tmpfs in place of securityfs changes nothing' bound_to protected,secure-video
echo '[none] integrity confidentiality' >/sys/kernel/security/lockdown
check 'under lockdown, a tmpfs that denies lockdown changes nothing' bound_to protected,secure-video
need umount /sys/kernel/security
need mount -t securityfs securityfs /sys/kernel/security
echo '[none] integrity confidentiality' >/run/none
check 'under lockdown, a file mounted over the lockdown file changes nothing' mounted /run/none /sys/kernel/security/lockdown bound_to protected,secure-video
need umount /sys/kernel/security
echo 0 >/run/zero
check 'under lockdown, a file mounted over locked_down in configfs changes nothing' mounted /run/zero "$CONFIG/locked_down" bound_to protected,secure-video
need mount -t securityfs securityfs /sys/kernel/security

check 'under lockdown, a mount over the directory of policies does not apply' mounted /run/other $IMAGE/policies unbound
check 'under lockdown, /etc mounted over the directory of policies does not apply' mounted /etc/protheap/policies $IMAGE/policies unbound
check 'the binder reports that the mounted policies do not apply' reported_distrust $IMAGE/policies
check 'under lockdown, a mount over a policy does not apply' mounted /run/other/radxa,rock-5b.toml $IMAGE/policies/radxa,rock-5b.toml bound_to protected,secure-video
check 'state.json reports the mount over a policy' like "$(state_of /refused)" '*is on another mount than /usr*'
check 'under lockdown, a mount over drop-ins does not apply' mounted_drop_ins
check 'under lockdown, a mount over /usr/lib/protheap does not apply' mounted /run/copy $IMAGE unbound
check 'under lockdown, a mount over /usr/lib does not apply' mounted_lib
echo 'local-policy = "always"' >/run/always.toml
: >$IMAGE/image.toml
check 'under lockdown, a mount over image.toml does not permit policies in /etc' mounted /run/always.toml $IMAGE/image.toml bound_to protected,secure-video
rm $IMAGE/image.toml
need mount --bind /usr /usr
check 'under lockdown, a mount over all of /usr, as by system extensions, changes nothing' bound_to protected,secure-video
need umount /usr

need rmmod protheap
check 'without protheap.ko, securityfs reports lockdown' is "$(explained /kernel/lockdown)" true
need mount --bind /sys/kernel/security /run/empty
need umount /sys/kernel/security
check 'without protheap.ko, a securityfs mounted elsewhere counts as lockdown' is "$(explained /kernel/lockdown)" true
