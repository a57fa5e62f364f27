// SPDX-License-Identifier: MIT OR Apache-2.0

//! Keeps release builds for Linux small: without the tables for unwinding (see `no-unwind.ld`).

fn main() {
    println!("cargo::rerun-if-changed=no-unwind.ld");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let directory = variable("CARGO_MANIFEST_DIR");
    // The C library's start code for static programs refers to the tables.
    let is_static = variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|f| f == "crt-static");
    let is_arm64 = variable("CARGO_CFG_TARGET_ARCH") == "aarch64";
    let is_linux = variable("CARGO_CFG_TARGET_OS") == "linux";
    if variable("PROFILE") == "release" && is_linux && !is_static {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{directory}/no-unwind.ld");
        if is_arm64 {
            // What mends the erratum otherwise takes up to 4 KiB; this is in reach below 1 MiB.
            println!("cargo::rustc-link-arg-bins=-Wl,--fix-cortex-a53-843419=adr");
        }
    }
}
