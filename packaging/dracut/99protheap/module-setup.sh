#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Adds the binder and protheap.ko, with all files that they read, to images that contain a driver for Mali CSF GPUs, and
# to no others. By its number it is the last module, so that it sees the drivers that other modules have installed.

# dracut sets these variables.
# shellcheck disable=SC2154

# Returns whether the user requested this module by name, which adds the drivers as well.
requested() {
    [[ " $dracutmodules $add_dracutmodules $force_add_dracutmodules " == *" protheap "* ]]
}

# Prints the paths of a kernel module in the image.
module() {
    find "$initdir/lib/modules/$kernel/" -name "$1.ko*" 2> /dev/null
}

# Returns whether the image contains a driver, or dracut will install one after all of its modules.
wanted() {
    local later=" ${drivers-} ${add_drivers-} ${force_drivers-} "
    requested && return 0
    [[ $later =~ " "(panthor|tyr|protheap)" " ]] && return 0
    [[ $(module panthor) || $(module tyr) ]]
}

# Copies a file or directory unchanged, because a link to /dev/null masks a policy.
copy() {
    local path=${1#/}
    [[ -e $dracutsysrootdir/$path ]] || return 0
    mkdir -p "$initdir/${path%/*}"
    cp -a "$dracutsysrootdir/$path" "$initdir/${path%/*}/"
}

# called by dracut
check() {
    require_binaries protheap-bind || return 1
    return 0
}

# called by dracut
installkernel() {
    if ! wanted; then
        # dracut adds all modules in updates/ to every image.
        module protheap | xargs -r rm
        return 0
    fi
    # Independent of the host, because the image can be for other boards. Modules that this kernel lacks are omitted.
    hostonly='' instmods protheap optee ffa-module panthor tyr
    if [[ ! $(module protheap) ]]; then
        dwarn "no protheap.ko for $kernel: its GPU driver will probe without protected memory; build the module"
    fi
}

# called by dracut
install() {
    local dir
    wanted || return 0
    inst_multiple protheap-bind modprobe mount
    inst_simple /usr/lib/modprobe.d/protheap.conf
    copy /usr/lib/protheap/policies
    copy /usr/lib/protheap/image.toml
    # The policies of this machine, which a generic image does not contain.
    [[ $hostonly ]] && copy /etc/protheap/policies
    # The firmware, for drivers that do not declare it, and for the binder, which reads the size of the buffer from it.
    for dir in $fw_dir; do
        inst_multiple -o "$dir/arm/mali/*/mali_csffw.bin*"
    done

    if dracut_module_included "systemd"; then
        inst_multiple \
            "$systemdsystemunitdir/protheap-bind.service" \
            "$systemdsystemunitdir/modprobe@.service"
        # Includes conditions of an image for a GPU with another device name.
        copy "$systemdsystemunitdir/modprobe@protheap.service.d"
        [[ $hostonly ]] && copy "$systemdsystemconfdir/modprobe@protheap.service.d"
        inst_simple "$moddir/configfs.conf" \
            "$systemdsystemunitdir/modprobe@protheap.service.d/50-configfs.conf"
        $SYSTEMCTL -q --root "$initdir" add-wants sysinit.target protheap-bind.service
    else
        inst_hook pre-udev 10 "$moddir/bind.sh"
        inst_hook cleanup 10 "$moddir/stop.sh"
    fi
}
