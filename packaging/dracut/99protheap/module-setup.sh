#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The binder and protheap.ko, with all that they read, go where a driver for Mali CSF GPUs goes, and nowhere else. It is
# the last module by its number, so that it sees which drivers the others installed.

# Variables of dracut's.
# shellcheck disable=SC2154

# Whoever asks for it by name gets the drivers as well.
requested() {
    [[ " $dracutmodules $add_dracutmodules $force_add_dracutmodules " == *" protheap "* ]]
}

# Prints where in the image a module is.
module() {
    find "$initdir/lib/modules/$kernel/" -name "$1.ko*" 2> /dev/null
}

# A driver is there, or dracut will install it when all its modules had their turn.
wanted() {
    local later=" ${drivers-} ${add_drivers-} ${force_drivers-} "
    requested && return 0
    [[ $later =~ " "(panthor|tyr|protheap)" " ]] && return 0
    [[ $(module panthor) || $(module tyr) ]]
}

# What is read there, as it is here: a link to /dev/null masks a policy.
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
        # All that lies in updates/ is in every image.
        module protheap | xargs -r rm
        return 0
    fi
    # Whatever the host has: this image may be for other boards. What is not built for this kernel is left out.
    hostonly='' instmods protheap optee ffa-module panthor tyr
    if [[ ! $(module protheap) ]]; then
        dwarn "there is no protheap.ko for $kernel: its GPU driver will not wait for protected memory"
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
    # This machine's own, which a generic image does not have.
    [[ $hostonly ]] && copy /etc/protheap/policies
    # Also for the binder, which reads in it how much memory it needs, and for drivers that do not name it.
    for dir in $fw_dir; do
        inst_multiple -o "$dir/arm/mali/*/mali_csffw.bin*"
    done

    if dracut_module_included "systemd"; then
        inst_multiple \
            "$systemdsystemunitdir/protheap-bind.service" \
            "$systemdsystemunitdir/modprobe@.service"
        # An image's own conditions are here as well, for a GPU with another name.
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
