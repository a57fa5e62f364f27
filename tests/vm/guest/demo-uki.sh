# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo --uki`: prints the result of the signed image on this board, as lines `fact NAME JSON`.

fact() { echo "fact $1 $2"; }
# measured PCR: prints the value of that PCR in the TPM
measured() { fact "pcr$1" "\"$(cat "/sys/class/tpm/tpm0/pcr-sha256/$1")\""; }

taken_over() { like "$(state_of /written_by)" 'protheapd *'; }
need wait_until 30 taken_over

# The value follows four bytes of attributes.
secure=$(tail -c 1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | od -A n -t u1 | tr -d ' ')
fact secure_boot "$([ "$secure" = 1 ] && echo true || echo false)"
fact lockdown "\"$(sed 's/.*\[//; s/\].*//' /sys/kernel/security/lockdown)\""
fact model "\"$(tr -d '\0' </sys/firmware/devicetree/base/model)\""
for pcr in 4 7 11 12 13; do
	measured "$pcr"
done

held=$(kernel_us 'protheap: held')
bound=$(kernel_us 'protheap: bound to')
probed=$(kernel_us "panthor $GPU")
switched=$(unit_us initrd-switch-root.service starting initrd)
fact bound_in_initrd "$([ "$bound" -lt "$switched" ] && echo true || echo false)"
need wait_until 30 gpu_probed
keep_groups 2 --protected
need panthor protected-job --count 3
protheap-guest report "$GPU" "$(((bound - held) / 1000))" "$([ "$bound" -lt "$probed" ] && echo true || echo false)"
release_groups
