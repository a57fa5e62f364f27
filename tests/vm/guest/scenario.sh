# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Runs the scenario on the kernel command line, at the end of the init script or as a unit of systemd, and ends the
# guest as specified there: poweroff, reboot, kexec or sysrq. If the command line is signed, a separate disk has these
# words.

SCENARIO='' BOARD='' WITHOUT='' LEAVE=poweroff SEED=1 CLOCK=host TEE=sim
WORDS=''
for disk in /sys/class/block/vd*; do
	[ "$(cat "$disk/serial" 2>/dev/null)" != words ] || WORDS=$(head -n 1 "/dev/${disk##*/}")
done
for word in $(cat /proc/cmdline) $WORDS; do
	case $word in
	xtask.scenario=*) SCENARIO=${word#*=} ;;
	xtask.board=*) BOARD=${word#*=} ;;
	xtask.leave=*) LEAVE=${word#*=} ;;
	xtask.seed=*) SEED=${word#*=} ;;
	xtask.tee=*) TEE=${word#*=} ;;
	xtask.clock=*) CLOCK=${word#*=} ;;
	xtask.without=*) WITHOUT="$WITHOUT $(echo "${word#*=}" | tr , ' ')" ;;
	esac
done
export SCENARIO BOARD SEED CLOCK TEE

# The port to which the script prints: the secure world of a real TEE uses the second serial port.
PORT=/dev/ttyAMA1
[ "$TEE" = sim ] || PORT=/dev/hvc0

# A guest without a module has neither its file nor an entry for it.
for module in $WITHOUT; do
	rm -f /lib/modules/*/"$module.ko"
	sed -i "/$module\.ko/d" /lib/modules/*/modules.dep
	sed -i "/ $module\$/d" /lib/modules/*/modules.alias
done

if [ "$SCENARIO" = shell ]; then
	echo 'Load functions: . /scenarios/lib.sh   List scenarios: ls /scenarios   Power off: poweroff -f'
	setsid -c sh -i </dev/console >/dev/console 2>&1
else
	# Standard error of programs is part of the output.
	sh -u -c '. /scenarios/lib.sh; . "/scenarios/$SCENARIO.sh"; finish' </dev/null >$PORT 2>&1
	# Changes no setting, but waits until all output has been sent.
	stty -F $PORT sane
fi
case $LEAVE in
kexec) protheap-guest kexec ;;
# Resets the machine at once, without drivers that could hang.
sysrq) echo b >/proc/sysrq-trigger ;;
*) "$LEAVE" -f ;;
esac
