# SPDX-License-Identifier: MIT OR Apache-2.0
# about: memory that the CPU can map is never bound, unless a policy allows it for bring-up, and not under lockdown
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
check 'the binder tells of a failure' is "$BINDER_STATUS" 1
check 'the reason is named' is "$(state_of /gpus/0/state) $(state_of /gpus/0/reason)" 'failed heap-not-protected'
check 'the system heap was judged' is "$(state_of /gpus/0/considered/0/outcome)" not-protected
check 'and the CMA heap' is "$(state_of /gpus/0/considered/1/outcome)" not-protected
check 'nothing stays allocated' wait_until 2 is_zero buffers

echo 'allow-unprotected = true' >>/etc/protheap/policies/radxa,rock-5b.toml
run_binder
check 'allowed, it is bound' is "$BINDER_STATUS $(attr state) $(attr heap)" '0 bound system'
check 'state.json says what it is worth' is "$(state_of /gpus/0/protection)" none
check 'the binder says which policy allows it' like "$(cat /run/binder.log)" '*radxa,rock-5b.toml*allow-unprotected*'
check 'the kernel says so, once for each use' is "$(dmesg | grep -c 'NOT protected')" 1

need rmdir "$CONFIG/$GPU"
# A local policy would not count.
need mv /etc/protheap/policies/radxa,rock-5b.toml /usr/lib/protheap/policies/
echo integrity >/sys/kernel/security/lockdown
run_binder
check 'under lockdown it is refused' is "$BINDER_STATUS $(state_of /gpus/0/reason)" '1 heap-not-protected'
need mkdir -p "$CONFIG/$GPU"
need rmdir "$CONFIG/$GPU"
need mkdir "$CONFIG/$GPU"
check 'by the kernel as well' fails_with EPERM store allow_unprotected 1
