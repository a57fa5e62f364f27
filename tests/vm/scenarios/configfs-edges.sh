# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the kernel accepts only the values that the interface in configfs permits
# source: handed

load_protheap hold=2000
# put ATTRIBUTE TEXT: writes once, with the escapes of printf
put() { printf "$2" >"$CONFIG/$GPU/$1"; }
refused() { ! put "$@" 2>/dev/null || { echo "$1 is now '$(attr "$1")'"; return 1; }; }
taken() { put "$1" "$2" && is "$(attr "$1")" "$3"; }
emptied() { put "$1" '\n' && empty attr "$1"; }
text() { head -c "$1" /dev/zero | tr '\0' x; }

check 'the kernel makes no binding for a device that does not exist' absent "$(mkdir "$CONFIG/nothing.gpu" 2>/dev/null; echo "$CONFIG/nothing.gpu")"
check 'the kernel refuses a device name of 64 bytes' like "$(mkdir "$CONFIG/$(text 64)" 2>&1)" '*File name too long*'
check 'the kernel looks up a device name of 63 bytes' like "$(mkdir "$CONFIG/$(text 63)" 2>&1)" '*No such device*'
need mkdir "$CONFIG/$GPU"
for bad in '\n' ' ' 'a b' 'a/b' 'a\0b' 'a\nb' 'a\n\n' '\033' '\377'; do
	check "heap: the kernel refuses $bad" refused heap "$bad"
done
check 'heap: the kernel accepts 255 bytes' taken heap "$(text 255)\n" "$(text 255)"
check 'heap: the kernel refuses 256 bytes' refused heap "$(text 256)"
check 'origin: the kernel accepts 255 bytes' taken origin "$(text 255)\n" "$(text 255)"
check 'origin: the kernel refuses 256 bytes' refused origin "$(text 256)"
check 'origin: the kernel accepts spaces' taken origin ' a "b" \\ 100%%\n' ' a "b" \ 100%'
check 'origin: the kernel accepts an empty value' emptied origin
check 'origin: the kernel refuses a control character' refused origin '\t'
for number in firmware_bytes_wanted suspend_bytes_wanted; do
	for bad in '\n' '-1' '+1' ' 1' '1 ' 007 '0x10' '1\0' '18446744073709551616' '99999999999999999999999'; do
		check "$number: the kernel refuses $bad" refused $number "$bad"
	done
	check "$number: the kernel accepts the largest number" taken $number '18446744073709551615\n' 18446744073709551615
	check "$number: the kernel accepts 0" taken $number 0 0
done
for bad in 129 4294967296 -1 01 '\n'; do
	check "suspend_count: the kernel refuses $bad" refused suspend_count "$bad"
done
check 'suspend_count: the kernel accepts 128' taken suspend_count 128 128
for bad in 2 '\n' 00 y; do
	check "allow_unprotected: the kernel refuses $bad" refused allow_unprotected "$bad"
done
for bad in kernel HANDED '\n'; do
	check "source: the kernel refuses $bad" refused source "$bad"
done
for bad in yes '\n' 'bind none' BIND; do
	check "commit: the kernel refuses $bad" refused commit "$bad"
done
check 'refused values leave the binding open' is "$(attr state)" open
check 'origin: the kernel refuses a write of a full page' fails_with EINVAL store origin "$(text 4095)"
check 'hold_ms: the kernel refuses 0' fails_with EINVAL store hold_ms 0
check 'hold_ms: the kernel refuses 10001' fails_with EINVAL store hold_ms 10001
check 'hold_ms: the kernel refuses a number above 32 bits' fails_with EINVAL store hold_ms 4294967297
check 'hold_ms and hold_left_ms read 0 before the hold' is "$(attr hold_ms) $(attr hold_left_ms)" '0 0'
check 'hold_ms: the kernel accepts a value above the limit of the module' taken hold_ms 10000 10000
check 'the hold is at most as long as the limit of the module' at_most "$(attr hold_left_ms)" 2000
check 'the hold has time left' at_least "$(attr hold_left_ms)" 1
check 'hold_ms: the kernel refuses a second hold during the first' fails_with EALREADY store hold_ms 100
load_gpu
check 'the GPU does not probe while it is held' has_no_driver
check 'the GPU probes when the hold has timed out' wait_until 4 gpu_probed
check 'the kernel reports heap-late after the hold has timed out' is "$(attr state) $(attr reason)" 'open heap-late'
check 'after the hold, hold_ms reads as written and hold_left_ms reads 0' is "$(attr hold_ms) $(attr hold_left_ms)" '10000 0'
check 'the kernel logs the hold' like "$(kernel_log "$HELD")" "*$GPU: $HELD*"
check 'the kernel logs that the hold timed out' like "$(kernel_log "$HOLD_TIMED_OUT")" "*$GPU: $HOLD_TIMED_OUT*"
check 'hold_ms: the kernel refuses a second hold after the first' fails_with EALREADY store hold_ms 100
need rmdir "$CONFIG/$GPU"
need mkdir "$CONFIG/$GPU"
check 'hold_ms: the kernel refuses a hold of a new binding for the same device' fails_with EALREADY store hold_ms 100
check 'a refused hold leaves hold_ms of the new binding at 0' is "$(attr hold_ms)" 0
check 'the kernel reports already-probed for a GPU with a driver' is "$(attr state) $(attr reason)" 'open already-probed'
for name in hold_left_ms state reason exporter firmware_bytes suspend_bytes suspend_wanted suspend_free suspend_in_use; do
	check "$name: the kernel refuses a write" fails_with EACCES store $name 1
done

# An open file keeps neither the binding nor the module.
exec 8<"$CONFIG/$GPU/state" 9</dev/protheap
need rmdir "$CONFIG/$GPU"
need modprobe -r csfgpu
check 'an open file of a removed binding cannot be read' like "$(cat <&8 2>&1)" '*No such file or directory'
modprobe -r protheap 2>/dev/null
check 'the module cannot be unloaded while /dev/protheap is open' exists /sys/module/protheap
exec 9<&-
check 'the module can be unloaded after /dev/protheap was closed' modprobe -r protheap
check 'an open file of a removed binding cannot be read after the module was unloaded' like "$(cat <&8 2>&1)" '*No such file or directory'
exec 8<&-
