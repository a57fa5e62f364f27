# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the firmware buffer has the size that the firmware image requires: the image that the policy names, or else the largest one
# source: kernel, handed

# image DIRECTORY BYTE: writes a minimal image with a shared section and a protected one of BYTE * 64 KiB
image() {
	mkdir -p "/lib/firmware/arm/mali/$1"
	{
		printf '\156\072\361\303\003\000\000\000\000\000\000\000\000\000\000\000\104\000\000\000'
		printf '\000\030\000\000\033\000\000\300\000\000\000\004\000\000\001\004\000\000\000\000\000\000\000\000'
		printf "\\000\\030\\000\\000\\053\\000\\000\\000\\000\\000\\000\\003\\000\\000\\$2\\003"
		printf '\000\000\000\000\000\000\000\000'
	} >"/lib/firmware/arm/mali/$1/mali_csffw.bin"
}

load_tee
load_protheap
image arch10.8 010
image arch13.8 020
run_binder
check 'the firmware buffer has the size for the image that the policy names' is "$(attr firmware_bytes)" 524288
need rmdir "$CONFIG/$GPU"

rm -r /lib/firmware/arm/mali/arch10.8
run_binder
check "the firmware buffer has the size for the largest image if the policy's image is missing" is "$(attr firmware_bytes)" 1048576
need rmdir "$CONFIG/$GPU"

echo damaged >/lib/firmware/arm/mali/arch13.8/mali_csffw.bin
run_binder
check 'the binder binds despite a damaged image' is "$BINDER_STATUS $(attr state)" '0 bound'
check 'state.json reports the damaged image with its path' like "$(state_of /refused)" '*arm/mali/arch13.8/mali_csffw.bin*'
check 'the firmware buffer has the default size if no image is readable' is "$(attr firmware_bytes)" 262144
