# SPDX-License-Identifier: MIT OR Apache-2.0
# about: whatever is written to configfs, the kernel takes only what its interface says
# source: handed

load_protheap hold=2000
# put ATTRIBUTE TEXT: one write, with printf's escapes
put() { printf "$2" >"$CONFIG/$GPU/$1"; }
refused() { ! put "$@" 2>/dev/null || { echo "$1 is now '$(attr "$1")'"; return 1; }; }
taken() { put "$1" "$2" && is "$(attr "$1")" "$3"; }
emptied() { put "$1" '\n' && empty attr "$1"; }
text() { head -c "$1" /dev/zero | tr '\0' x; }

check 'a device that is not there' absent "$(mkdir "$CONFIG/nothing.gpu" 2>/dev/null; echo "$CONFIG/nothing.gpu")"
check 'a name that no uAPI structure holds' like "$(mkdir "$CONFIG/$(text 64)" 2>&1)" '*File name too long*'
check 'the longest name that one holds is looked for' like "$(mkdir "$CONFIG/$(text 63)" 2>&1)" '*No such device*'
need mkdir "$CONFIG/$GPU"
for bad in '\n' ' ' 'a b' 'a/b' 'a\0b' 'a\nb' 'a\n\n' '\033' '\377'; do
	check "heap: $bad is refused" refused heap "$bad"
done
check 'heap: 255 bytes are taken' taken heap "$(text 255)\n" "$(text 255)"
check 'heap: 256 are not' refused heap "$(text 256)"
check 'origin: 255 bytes are taken' taken origin "$(text 255)\n" "$(text 255)"
check 'origin: 256 are not' refused origin "$(text 256)"
check 'origin: spaces are taken' taken origin ' a "b" \\ 100%%\n' ' a "b" \ 100%'
check 'origin: nothing is taken' emptied origin
check 'origin: a control character is not' refused origin '\t'
for number in firmware_bytes_wanted suspend_bytes; do
	for bad in '\n' '-1' '+1' ' 1' '1 ' '0x10' '1\0' '18446744073709551616' '99999999999999999999999'; do
		check "$number: $bad is refused" refused $number "$bad"
	done
	check "$number: the largest is taken" taken $number '18446744073709551615\n' 18446744073709551615
	check "$number: 0 is taken" taken $number 0 0
done
for bad in 129 4294967296 -1 '\n'; do
	check "suspend_count: $bad is refused" refused suspend_count "$bad"
done
check 'suspend_count: 128 is taken' taken suspend_count 128 128
for bad in 2 '\n' 00 y; do
	check "allow_unprotected: $bad is refused" refused allow_unprotected "$bad"
done
for bad in kernel HANDED '\n'; do
	check "source: $bad is refused" refused source "$bad"
done
for bad in yes '\n' 'bind none' BIND; do
	check "commit: $bad is refused" refused commit "$bad"
done
check 'nothing is decided' is "$(attr state)" open
check 'a store that fills the page' fails_with EINVAL store origin "$(text 4095)"
check 'a window of 0 ms' fails_with EINVAL store hold_ms 0
check 'one that is too long' fails_with EINVAL store hold_ms 10001
check 'one that no integer holds' fails_with EINVAL store hold_ms 4294967297
check 'a window beyond the ceiling of the module' store hold_ms 10000
check 'ends with that' at_most "$(attr hold_ms)" 2000
check 'a second while it is open' fails_with EALREADY store hold_ms 100
load_gpu
check 'the GPU does not probe while it is held' has_no_driver
check 'and probes when it has ended' wait_until 4 gpu_probed
check 'the reason is named' is "$(attr state) $(attr reason)" 'open heap-late'
check 'the kernel logs the hold' like "$(kernel_log "$HELD")" "*$GPU: $HELD*"
check 'the kernel logs that the hold timed out' like "$(kernel_log "$HOLD_TIMED_OUT")" "*$GPU: $HOLD_TIMED_OUT*"
check 'a second window' fails_with EALREADY store hold_ms 100
need rmdir "$CONFIG/$GPU"
need mkdir "$CONFIG/$GPU"
check 'nor has a new binding one' fails_with EALREADY store hold_ms 100
check 'the driver was there first' is "$(attr state) $(attr reason)" 'open already-probed'
for name in state reason exporter firmware_bytes suspend_wanted suspend_free suspend_in_use; do
	check "$name cannot be written" fails_with EACCES store $name 1
done

# What is open outlives neither the binding nor the module.
exec 8<"$CONFIG/$GPU/state" 9</dev/protheap
need rmdir "$CONFIG/$GPU"
need modprobe -r csfgpu
check 'a file of a binding that is gone cannot be read' like "$(cat <&8 2>&1)" '*No such file or directory'
modprobe -r protheap 2>/dev/null
check 'the module stays while its device is open' exists /sys/module/protheap
exec 9<&-
check 'and goes then' modprobe -r protheap
check 'without the module, a file of a binding that is gone cannot be read' like "$(cat <&8 2>&1)" '*No such file or directory'
exec 8<&-
