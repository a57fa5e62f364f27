# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Runs the scenario that the kernel command line names, as an init's last word or as a unit of systemd's, and leaves
# as it says: poweroff, reboot, kexec or sysrq. Where the command line is signed, a disk of its own has these words.

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

# The port on which the script speaks: the secure world of a real TEE has the second serial one.
PORT=/dev/ttyAMA1
[ "$TEE" = sim ] || PORT=/dev/hvc0

# A guest without a module: neither its file nor a word of it.
for module in $WITHOUT; do
	rm -f /lib/modules/*/"$module.ko"
	sed -i "/$module\.ko/d" /lib/modules/*/modules.dep
	sed -i "/ $module\$/d" /lib/modules/*/modules.alias
done

if [ "$SCENARIO" = shell ]; then
	echo 'Functions of the scenarios: . /scenarios/lib.sh   The scenarios: ls /scenarios   To leave: poweroff -f'
	setsid -c sh -i </dev/console >/dev/console 2>&1
else
	# What programs complain of belongs there too.
	sh -u -c '. /scenarios/lib.sh; . "/scenarios/$SCENARIO.sh"; finish' </dev/null >$PORT 2>&1
	# Sets nothing new, but waits until everything is out.
	stty -F $PORT sane
fi
case $LEAVE in
kexec) protheap-guest kexec ;;
# At once, where a driver would hang.
sysrq) echo b >/proc/sysrq-trigger ;;
*) "$LEAVE" -f ;;
esac
