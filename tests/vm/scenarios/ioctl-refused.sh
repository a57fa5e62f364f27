# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor refuses each wrong use of its ioctls for protected memory, and nothing changes
# linux: 7.2, 7.3
# without: protheap
# limit: 60

SECTION=262144
load_model
load_tee
load_panthor
keep_awake

# udev opens the node to users in a real system.
need wait_until 10 exists /dev/dri/renderD128
need chmod 755 /dev/dri
need chmod 666 /dev/dri/renderD128
user() { protheap-guest as 1000 protheap-guest panthor "$@"; }
# everything: prints all that a refused ioctl must not change
everything() {
	panthor query | sed -n 's/^protected-//p' | tr '\n' ' '
	echo "boots $(model boots) bytes $(given_out) buffers $(buffers) $(firmware_says protected-section)"
}
check 'without a buffer, the query reports the sizes, and that a buffer is taken' is "$(panthor query | sed -n 's/^protected-//p' | tr '\n' ' ')" "memory no takes-buffer yes has-buffer no firmware-size $SECTION suspend-size 65536 "
before=$(everything)
check 'a user without CAP_SYS_ADMIN may query' is "$(user query | sed -n 's/^protected-takes-buffer //p')" yes
check 'set: EPERM without CAP_SYS_ADMIN' is "$(user set-firmware --fd 99)" EPERM
check 'take back: EPERM without CAP_SYS_ADMIN' is "$(user take-firmware)" EPERM
check 'set: EBADF for a closed descriptor' is "$(panthor set-firmware --fd 99)" EBADF
check 'set: EBADF for a negative descriptor' is "$(panthor set-firmware --fd -2)" EBADF
check 'set: EINVAL for a file that is no dma-buf' is "$(panthor set-firmware --file /dev/null)" EINVAL
check 'set: EINVAL for a buffer that the CPU can map' is "$(panthor set-firmware --from system)" EINVAL
check 'set: EINVAL for flags' is "$(panthor set-firmware --flags 1)" EINVAL
check 'take back: EINVAL for flags' is "$(panthor take-firmware --flags 1)" EINVAL
check 'set: EMSGSIZE for a buffer of one page too few' is "$(panthor set-firmware --bytes $((SECTION - 4096)))" EMSGSIZE
check 'group: EOPNOTSUPP without a buffer' is "$(panthor group --protected --own-suspend)" 'groups 0 EOPNOTSUPP'
check 'group: EOPNOTSUPP without protheap.ko' is "$(panthor group --protected)" 'groups 0 EOPNOTSUPP'
check 'take back: nothing to do without a buffer' like "$(panthor take-firmware)" 'took-us *'
check 'nothing has changed without a buffer' wait_until 5 is_count "$before" everything

need inject boot-fails
check 'set: EIO if the firmware does not boot with the buffer' is "$(panthor set-firmware)" EIO
check 'the kernel logs that the firmware does not boot with the buffer' is "$(dmesg | grep -c 'FW failed to boot with protected memory, trying without')" 1
check 'the firmware runs without the buffer after that' is "$(firmware_says protected-section) $(panthor job --count 3)" 'none jobs 3/3'
check 'the refused buffer is freed' wait_until 5 is_zero given_out

check 'a right buffer is taken after all refused ones' like "$(panthor set-firmware)" 'took-us *'
check 'the query reports the buffer' is "$(panthor query | sed -n 's/^protected-//p' | head -n 3 | tr '\n' ' ')" 'memory yes takes-buffer no has-buffer yes '
before=$(everything)
check 'set: EBUSY for a second buffer' is "$(panthor set-firmware)" EBUSY
check 'group: EBADF for a closed suspend buffer' is "$(panthor group --protected --own-suspend --fd 99)" 'groups 0 EBADF'
check 'group: EINVAL for a suspend buffer that is no dma-buf' is "$(panthor group --protected --own-suspend --file /dev/null)" 'groups 0 EINVAL'
check 'group: EINVAL for a suspend buffer that the CPU can map' is "$(panthor group --protected --own-suspend --from system)" 'groups 0 EINVAL'
check 'group: EINVAL for flags' is "$(panthor group --protected --own-suspend --flags 1)" 'groups 0 EINVAL'
check 'group: EMSGSIZE for a suspend buffer of one page too few' is "$(panthor group --protected --own-suspend --bytes 61440)" 'groups 0 EMSGSIZE'
check 'group: EOPNOTSUPP for a buffer of protheap.ko' is "$(panthor group --protected)" 'groups 0 EOPNOTSUPP'
check 'nothing has changed with a buffer' wait_until 5 is_count "$before" everything
keep_groups 1 --protected --own-suspend
check 'take back: EBUSY while there is a protected group' is "$(panthor take-firmware)" EBUSY
release_groups
check 'nothing has changed after the protected group' wait_until 5 is_count "$before" everything

# The program has the node open, and calls when the file exists.
protheap-guest panthor take-firmware --hold /run/take >/run/taken 2>&1 &
taker=$!
has_node() { ls -l "/proc/$taker/fd" | grep -q renderD; }
need wait_until 10 has_node
need unbind_gpu panthor
touch /run/take
wait $taker
check 'take back: ENODEV after unbind' is "$? $(cat /run/taken)" '1 ENODEV'
check 'unbind frees the buffer' wait_until 5 is_zero given_out
need bind_gpu panthor
check 'the driver has no buffer after it was bound again' is "$(panthor query | sed -n 's/^protected-takes-buffer //p')" yes
check 'the simulated GPU reports no violation' is "$(check_model)" fine

# The flags of the second section in the image of the firmware, without the bit for protected memory.
need rmmod panthor
for image in /lib/firmware/arm/mali/*/mali_csffw.bin; do
	printf '\013' | need dd of="$image" bs=1 seek=48 conv=notrunc
done
load_panthor
check 'without a protected section, the query reports no size' is "$(panthor query | sed -n 's/^protected-//p' | head -n 4 | tr '\n' ' ')" 'memory no takes-buffer no has-buffer no firmware-size 0 '
check 'set: EINVAL for a firmware without a protected section' is "$(panthor set-firmware --bytes $SECTION)" EINVAL
