# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Not a scenario: makes initrds with the generators of distributions, in a root of Debian's packages in memory, and
# writes the initrds and lists of their contents to the disk as a tar archive.

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

# The test kernel has no IPC namespaces.
sed -i 's/namespaces |= CLONE_NEWIPC/pass/' $ROOT/usr/lib/python3/dist-packages/mkosi/sandbox.py

inside() { chroot $ROOT env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 "$@"; }
# No maintainer script has run, and dracut finds libraries by the cache of the linker.
need inside ldconfig

took() { say "$1 after $(sed 's/\..*//' /proc/uptime) s"; }

# list NAME: writes the list of files in the archive on standard input. The path prevents that busybox runs its cpio,
# which lists no hard links.
list() { inside /usr/bin/cpio --quiet -it >"$ROOT/lists/$1"; }

# made NAME: lists the initrd of a generator that has ended, or prints its log if there is no initrd
made() {
	if [ -s "$ROOT/out/$1" ]; then
		inside zstd -dc "/out/$1" | list "$1"
	else
		sed "s/^/# $1: /" "/tmp/$1.log"
	fi
	took "$1"
}

# by_dracut NAME OPTIONS...: makes an initrd with dracut
by_dracut() {
	name=$1
	shift
	inside dracut --force --no-hostonly --kver "$RELEASE" --compress 'zstd -1' "$@" "/out/$name" >"/tmp/$name.log" 2>&1
	made "$name"
}

# by_initramfs_tools NAME MODULE...: makes an initrd with initramfs-tools that loads these modules
by_initramfs_tools() {
	name=$1
	shift
	cp -a $ROOT/etc/initramfs-tools "$ROOT/tmp/$name"
	printf '%s\n' "$@" >"$ROOT/tmp/$name/modules"
	inside mkinitramfs -d "/tmp/$name" -c zstd -l 1 -o "/out/$name" "$RELEASE" >"/tmp/$name.log" 2>&1
	made "$name"
}

# by_mkosi NAME: makes an initrd with mkosi from the tree of the root, with the configuration in packaging/mkosi
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
	# The configuration of an image with a kernel cannot be built from trees, so it is only parsed.
	inside sh -c 'cd / && python3 -m mkosi --distribution custom --include /mkosi --no-pager summary' >"$ROOT/lists/$1-summary"
	took "$1"
}

# One generator for each of the two processors at a time.
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
check 'each generator has made its initrds' is "$(ls $ROOT/lists | wc -l)" 9
