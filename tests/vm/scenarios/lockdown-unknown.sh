# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a lockdown that cannot be known counts as one, and nothing that is mounted over the image's policies is the image's
# limit: 60

OTHER='protected,trusted-ui'
IMAGE=/usr/lib/protheap
wish() {
	printf 'schema = 1\n[gpu."%s"]\nheaps = [{ name = "%s" }]\nsuspend = { count = 3 }\n' "$GPU" "$OTHER" >"$1"
}
# bound_to HEAP: the heap that the binder binds. unbound: it binds none.
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
# mounted SOURCE TARGET COMMAND...: while something is mounted there
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
reported_distrust() { like "$(cat /run/binder.log)" "*$1: does not count: its directory is on another mount than /usr*"; }
mounted_drop_ins() {
	mkdir -p "$IMAGE/policies/rockchip,rk3588.toml.d"
	mounted /run/other "$IMAGE/policies/rockchip,rk3588.toml.d" bound_to protected,secure-video
}
mounted_lib() {
	mkdir -p /run/lib
	# The guest's programs need their libraries there.
	cp -a $IMAGE /usr/lib/ld-linux-* /usr/lib/aarch64-linux-gnu /run/lib
	wish "/run/lib/protheap/policies/radxa,rock-5b.toml"
	mounted /run/lib /usr/lib unbound
}
reported() { like "$(cat /run/binder.log)" "*$1: is on another mount than /usr*"; }

load_tee 'heaps=protected,secure-video;protected,trusted-ui'
load_protheap
mkdir -p /etc/protheap/policies /run/other /run/empty
wish /etc/protheap/policies/radxa,rock-5b.toml
check 'without lockdown, policies in /etc count' bound_to "$OTHER"
check 'protheap.ko says that there is no lockdown' is "$(cat "$CONFIG/locked_down")" 0
need umount /sys/kernel/security
check 'also where securityfs is not mounted' bound_to "$OTHER"
check 'protheapctl says so too' is "$(explained /kernel/lockdown)" false
need rmmod protheap
check 'where neither can be asked, the kernel counts as locked down' is "$(explained /kernel/lockdown)" true
load_protheap
need mount -t securityfs securityfs /sys/kernel/security

cp -a $IMAGE /run/copy
wish "/run/other/radxa,rock-5b.toml"
check 'without lockdown, a mount over a directory of policies counts' mounted /run/other $IMAGE/policies bound_to "$OTHER"
check 'and is reported' reported $IMAGE/policies
rm /etc/protheap/policies/*
: >$IMAGE/policies/radxa,rock-5b.toml
check 'so does one over a file' mounted /run/other/radxa,rock-5b.toml $IMAGE/policies/radxa,rock-5b.toml bound_to "$OTHER"
check 'and is reported as well' reported $IMAGE/policies/radxa,rock-5b.toml
wish /etc/protheap/policies/radxa,rock-5b.toml

echo 'local-policy = "never"' >$IMAGE/image.toml
check 'where the image says never, policies in /etc do not count' bound_to protected,secure-video
check 'nor does a mount over the directory' mounted /run/other $IMAGE/policies unbound
check 'nor one over a file' mounted /run/other/radxa,rock-5b.toml $IMAGE/policies/radxa,rock-5b.toml bound_to protected,secure-video
check 'nor one over all that the image says' mounted /run/copy $IMAGE unbound
check 'nor one over its word' mounted /run/empty $IMAGE unbound
: >/run/empty.toml
check 'nor an empty one over that alone' mounted /run/empty.toml $IMAGE/image.toml bound_to protected,secure-video
check 'which is reported' reported $IMAGE/image.toml
rm $IMAGE/image.toml

echo integrity >/sys/kernel/security/lockdown
check 'under lockdown, policies in /etc do not count' bound_to protected,secure-video
check 'protheap.ko says that there is lockdown' is "$(cat "$CONFIG/locked_down")" 1
need umount /sys/kernel/security
check 'where securityfs is not mounted they do not count either' bound_to protected,secure-video
check 'protheapctl says so' is "$(explained /kernel/lockdown)" true
need mount -t tmpfs none /sys/kernel/security
check 'nor where something else is mounted there' bound_to protected,secure-video
echo '[none] integrity confidentiality' >/sys/kernel/security/lockdown
check 'nor where that says that there is none' bound_to protected,secure-video
need umount /sys/kernel/security
need mount -t securityfs securityfs /sys/kernel/security
echo '[none] integrity confidentiality' >/run/none
check 'nor where a file is mounted over the answer' mounted /run/none /sys/kernel/security/lockdown bound_to protected,secure-video
need umount /sys/kernel/security
echo 0 >/run/zero
check 'nor where one is mounted over the answer of the module' mounted /run/zero "$CONFIG/locked_down" bound_to protected,secure-video
need mount -t securityfs securityfs /sys/kernel/security

check 'what is mounted over the policies does not count' mounted /run/other $IMAGE/policies unbound
check 'nor /etc, mounted there' mounted /etc/protheap/policies $IMAGE/policies unbound
check 'which is reported' reported_distrust $IMAGE/policies
check 'nor what is mounted over one policy' mounted /run/other/radxa,rock-5b.toml $IMAGE/policies/radxa,rock-5b.toml bound_to protected,secure-video
check 'which the state says' like "$(state_of /refused)" '*is on another mount than /usr*'
check 'nor what is mounted over drop-ins' mounted_drop_ins
check 'nor what is mounted over the directory above' mounted /run/copy $IMAGE unbound
check 'nor what is mounted over /usr/lib' mounted_lib
echo 'local-policy = "always"' >/run/always.toml
: >$IMAGE/image.toml
check 'nor a word for /etc, mounted over that of the image' mounted /run/always.toml $IMAGE/image.toml bound_to protected,secure-video
rm $IMAGE/image.toml
need mount --bind /usr /usr
check 'a mount of /usr as a whole, as system extensions make it, changes nothing' bound_to protected,secure-video
need umount /usr

need rmmod protheap
check 'without the module, securityfs says that there is lockdown' is "$(explained /kernel/lockdown)" true
need mount --bind /sys/kernel/security /run/empty
need umount /sys/kernel/security
check 'and where that is mounted elsewhere, nobody says that there is none' is "$(explained /kernel/lockdown)" true
