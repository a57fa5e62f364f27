# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Not a scenario: makes initrds as distributions do, in a root of Debian's packages, which is in memory, and writes them,
# and lists of what is in each, to the disk as a tar archive.

RELEASE=$(uname -r)
ROOT=/root

mkdir -p /lower $ROOT
need mount -t erofs -o ro /dev/pmem0 /lower
need mount -t tmpfs -o size=1g tmpfs /tmp
mkdir /tmp/upper /tmp/work
need mount -t overlay -o lowerdir=/lower,upperdir=/tmp/upper,workdir=/tmp/work overlay $ROOT
mkdir -p $ROOT/out $ROOT/lists $ROOT/lower
need mount --bind /lower $ROOT/lower
for dir in dev proc sys; do
	need mount --rbind /$dir $ROOT/$dir
done
need mount -t tmpfs tmpfs $ROOT/run

# The test kernel has no name spaces for IPC.
sed -i 's/namespaces |= CLONE_NEWIPC/pass/' $ROOT/usr/lib/python3/dist-packages/mkosi/sandbox.py

inside() { chroot $ROOT env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 "$@"; }
# No maintainer script has run: dracut finds libraries by the cache of the linker.
need inside ldconfig

took() { say "$1 after $(sed 's/\..*//' /proc/uptime) s"; }

# list NAME: the files of an archive, which is standard input. Without the path it would be busybox's cpio, which lists no
# hard links.
list() { inside /usr/bin/cpio --quiet -it >"$ROOT/lists/$1"; }

# made NAME: the generator has ended, as its log says how
made() {
	if [ -s "$ROOT/out/$1" ]; then
		inside zstd -dc "/out/$1" | list "$1"
	else
		sed "s/^/# $1: /" "/tmp/$1.log"
	fi
	took "$1"
}

# by_dracut NAME OPTIONS...
by_dracut() {
	name=$1
	shift
	inside dracut --force --no-hostonly --kver "$RELEASE" --compress 'zstd -1' "$@" "/out/$name" >"/tmp/$name.log" 2>&1
	made "$name"
}

# by_initramfs_tools NAME MODULE...: with these in the list of modules to be loaded
by_initramfs_tools() {
	name=$1
	shift
	cp -a $ROOT/etc/initramfs-tools "$ROOT/tmp/$name"
	printf '%s\n' "$@" >"$ROOT/tmp/$name/modules"
	inside mkinitramfs -d "/tmp/$name" -c zstd -l 1 -o "/out/$name" "$RELEASE" >"/tmp/$name.log" 2>&1
	made "$name"
}

# by_mkosi NAME: of the root's own tree; an image for which the configuration of packaging/mkosi is included
by_mkosi() {
	mkdir -p $ROOT/image
	cat >$ROOT/image/mkosi.conf <<-END
		[Include]
		Include=/mkosi/initrd
		[Distribution]
		Distribution=custom
		[Output]
		Format=cpio
		Output=$1
		OutputDirectory=/image/out
		CompressOutput=none
		[Content]
		BaseTrees=/lower
		Bootable=no
		KernelModulesExclude=.*
		CleanPackageMetadata=no
		RemoveFiles=/usr/lib/dracut,/usr/lib/python3,/usr/lib/python3.13,/usr/share,/usr/lib/modules/*/vmlinuz,/mkosi
	END
	mkdir -p $ROOT/image/out
	inside sh -c 'cd /image && python3 -m mkosi build' >"/tmp/$1.log" 2>&1
	if [ -s "$ROOT/image/out/$1.cpio" ]; then
		list "$1" <"$ROOT/image/out/$1.cpio"
	else
		sed "s/^/# $1: /" "/tmp/$1.log"
	fi
	# That for an image with a kernel cannot be built of trees: it is read.
	inside sh -c 'cd / && python3 -m mkosi --distribution custom --include /mkosi --no-pager summary' >"$ROOT/lists/$1-summary"
	took "$1"
}

# Two processors have two of them at a time.
{
	by_dracut dracut-without
	by_dracut dracut --add drm
	by_initramfs_tools initramfs-tools panthor simtee
} &
{
	by_mkosi mkosi
	by_dracut dracut-script --omit 'systemd systemd-initrd dracut-systemd' --add-drivers panthor
	by_dracut dracut-asked --modules 'base protheap'
	by_initramfs_tools initramfs-tools-without
	by_initramfs_tools initramfs-tools-asked protheap
} &
wait
need tar -C $ROOT -cf /dev/vda out lists
sync
check 'all were made' is "$(ls $ROOT/lists | wc -l)" 9
