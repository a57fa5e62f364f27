# SPDX-License-Identifier: MIT OR Apache-2.0
# about: memory that the CPU can map is bound only if a policy allows it for bring-up, and never under lockdown
# source: kernel, handed

load_protheap
policy radxa,rock-5b <<'END'
schema = 1
[gpu."arm,mali-valhall-csf"]
heaps = [{ name = "system" }, { name = "default_cma_region" }]
END
need exists "$(heap system)"
need exists "$(heap default_cma_region)"
run_binder
check 'the binder exits with status 1' is "$BINDER_STATUS" 1
check 'state.json reports state failed and reason heap-not-protected' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'failed heap-not-protected'
check 'the binder rejects the system heap as not-protected' is "$(state_of /gpus/0/considered/0/outcome)" not-protected
check 'the binder rejects the CMA heap as not-protected' is "$(state_of /gpus/0/considered/1/outcome)" not-protected
check 'no buffer stays allocated' wait_until 2 is_zero buffers

echo 'allow-unprotected = true' >>/etc/protheap/policies/radxa,rock-5b.toml
run_binder
check 'the binder binds an unprotected heap if the policy allows it' is "$BINDER_STATUS $(attr state) $(attr heap)" '0 bound system'
check 'state.json reports the protection as none' is "$(state_of /gpus/0/protection)" none
check 'the binder logs the policy that allows an unprotected heap' like "$(cat /run/binder.log)" '*radxa,rock-5b.toml*allow-unprotected*'
check 'the kernel logs once that the memory is not protected' is "$(dmesg | grep -c 'NOT protected')" 1

need rmdir "$CONFIG/$GPU"
# A local policy would not apply under lockdown.
need mv /etc/protheap/policies/radxa,rock-5b.toml /usr/lib/protheap/policies/
echo integrity >/sys/kernel/security/lockdown
run_binder
check 'under lockdown, the binder rejects an unprotected heap' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '1 heap-not-protected'
need mkdir -p "$CONFIG/$GPU"
need rmdir "$CONFIG/$GPU"
need mkdir "$CONFIG/$GPU"
check 'under lockdown, the kernel refuses allow_unprotected' fails_with EPERM store allow_unprotected 1
