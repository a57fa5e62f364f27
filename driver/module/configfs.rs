// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/config/protheap`: one directory for each binding, one value in each file.

use crate::abstractions::compat::*;
use crate::{
    abstractions::lockdown::is_locked_down,
    binding::{
        Decision,
        Driver,
        SUSPEND_COUNT_MAX, //
    },
    gpu::{
        Binding,
        Gpu, //
    },
    registry,
    source, //
};
use kernel::{
    configfs::{
        self,
        configfs_attrs, //
    },
    fmt::{
        self,
        Write as _, //
    },
    page::PAGE_SIZE,
    prelude::*,
    str::{
        BStr,
        CStr,
        Formatter, //
    },
    sync::Arc, //
};

/// Version of the module's interface to user space.
const ABI: u32 = 1;

/// Size of configfs' buffer. A write that fills it may have been cut.
const PAGE_FULL: usize = 4095;

/// Maximum length of a device's name: with its terminator it fills `device` of
/// `struct protheap_hand_over`.
const DEVICE_NAME_MAX: usize = 63;

/// Maximum length of a text.
const TEXT_MAX: usize = 255;

/// The subsystem's directory.
#[pin_data]
pub(crate) struct Root {}

impl Root {
    /// Registers the subsystem.
    pub(crate) fn register() -> impl PinInit<configfs::Subsystem<Self>, Error> {
        let root = configfs_attrs! {
            container: configfs::Subsystem<Root>,
            data: Root,
            child: Directory,
            attributes: [
                abi: 0,
                can_allocate: 1,
                locked_down: 2,
            ],
        };
        configfs::Subsystem::new(c"protheap", root, try_pin_init!(Root {}))
    }
}

#[vtable]
impl configfs::GroupOperations for Root {
    type Child = Directory;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<configfs::Group<Directory>, Error>> {
        let directory = configfs_attrs! {
            container: configfs::Group<Directory>,
            data: Directory,
            attributes: [
                heap: 0,
                source: 1,
                hold_ms: 2,
                firmware_bytes_wanted: 3,
                suspend_bytes_wanted: 4,
                suspend_count: 5,
                allow_unprotected: 6,
                origin: 7,
                commit: 8,
                state: 9,
                reason: 10,
                exporter: 11,
                firmware_bytes: 12,
                suspend_wanted: 13,
                suspend_free: 14,
                suspend_in_use: 15,
                hold_left_ms: 16,
                suspend_bytes: 17,
            ],
        };
        // It does not fit `struct protheap_hand_over`.
        if name.to_bytes().len() > DEVICE_NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let open = Open(registry::open(name)?);
        Ok(configfs::Group::new(
            name.try_into()?,
            directory,
            try_pin_init!(Directory { open }),
        ))
    }
}

#[vtable]
impl configfs::AttributeOperations<0> for Root {
    type Data = Root;

    fn show(_: &Root, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let mut out = Formatter::new(page);
        line(&mut out, fmt!("{ABI}"))?;
        Ok(out.bytes_written())
    }
}

#[vtable]
impl configfs::AttributeOperations<1> for Root {
    type Data = Root;

    fn show(_: &Root, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let mut out = Formatter::new(page);
        line(&mut out, fmt!("{}", u8::from(source::kernel_allocates())))?;
        Ok(out.bytes_written())
    }
}

#[vtable]
impl configfs::AttributeOperations<2> for Root {
    type Data = Root;

    fn show(_: &Root, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let mut out = Formatter::new(page);
        line(&mut out, fmt!("{}", u8::from(is_locked_down())))?;
        Ok(out.bytes_written())
    }
}

/// An open binding. Dropped by rmdir, which withdraws it.
struct Open(Arc<Gpu>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.withdraw();
        registry::forget_removed();
    }
}

/// A binding's directory.
#[pin_data]
pub(crate) struct Directory {
    open: Open,
}

impl Directory {
    fn show(
        &self,
        page: &mut [u8; PAGE_SIZE],
        show: impl FnOnce(&Binding, Driver, &mut Formatter<'_>) -> fmt::Result,
    ) -> Result<usize> {
        let mut out = Formatter::new(page);
        self.open
            .0
            .view(|binding, driver| show(binding, driver, &mut out))??;
        Ok(out.bytes_written())
    }
}

/// Writes one value.
fn line(out: &mut Formatter<'_>, value: fmt::Arguments<'_>) -> fmt::Result {
    out.write_fmt(value)?;
    out.write_str("\n")
}

/// Returns the value that was written, without the newline at its end. `EINVAL` if it is not one line.
fn value(page: &[u8]) -> Result<&[u8]> {
    if page.len() >= PAGE_FULL {
        return Err(EINVAL);
    }
    let value = page.strip_suffix(b"\n").unwrap_or(page);
    if value.contains(&0) || value.contains(&b'\n') {
        return Err(EINVAL);
    }
    Ok(value)
}

/// Parses a number of decimal digits without leading zeros, so that it reads back as it was written.
fn number<T: core::str::FromStr>(page: &[u8]) -> Result<T> {
    let value = value(page)?;
    if !value.iter().all(u8::is_ascii_digit) || value.len() > 1 && value.starts_with(b"0") {
        return Err(EINVAL);
    }
    let value = core::str::from_utf8(value).map_err(|_| EINVAL)?;
    value.parse().map_err(|_| EINVAL)
}

/// Parses `0` or `1`.
fn switch(page: &[u8]) -> Result<bool> {
    match value(page)? {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(EINVAL),
    }
}

/// Parses a text of at most [`TEXT_MAX`] bytes, each of which is `allowed`.
fn text(page: &[u8], allowed: impl Fn(&u8) -> bool) -> Result<KVec<u8>> {
    let value = value(page)?;
    if value.len() > TEXT_MAX || !value.iter().all(allowed) {
        return Err(EINVAL);
    }
    let mut text = KVec::new();
    text.extend_from_slice(value, GFP_KERNEL)?;
    Ok(text)
}

/// Declares the attributes of a [`Directory`]: how each is shown and, if it is writable, stored.
macro_rules! attributes {
    ($($id:literal: show $show:expr $(, store $store:expr)?;)*) => {$(
        #[vtable]
        impl configfs::AttributeOperations<$id> for Directory {
            type Data = Directory;

            fn show(dir: &Directory, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
                dir.show(page, $show)
            }

            $(
                fn store(dir: &Directory, page: &[u8]) -> Result {
                    let store: fn(&Gpu, &[u8]) -> Result = $store;
                    store(&dir.open.0, page)
                }
            )?
        }
    )*};
}

attributes! {
    // heap
    0: show |binding, _, out| line(out, fmt!("{}", BStr::from_bytes(&binding.options.heap))),
        store |gpu, page| {
            let heap = text(page, |byte| byte.is_ascii_graphic() && *byte != b'/')?;
            if heap.is_empty() {
                return Err(EINVAL);
            }
            gpu.change(|binding| binding.set_heap(heap))
        };
    // source
    1: show |binding, _, out| line(out, fmt!("{}", binding.options.source.name())),
        store |gpu, page| {
            let source = source::from_name(value(page)?).ok_or(EINVAL)?;
            gpu.change(|binding| binding.set_source(source))
        };
    // hold_ms
    2: show |binding, _, out| line(out, fmt!("{}", binding.options.hold_ms)),
        store |gpu, page| gpu.hold(number(page)?);
    // firmware_bytes_wanted
    3: show |binding, _, out| line(out, fmt!("{}", binding.options.firmware_bytes_wanted)),
        store |gpu, page| {
            let bytes = number(page)?;
            gpu.change(|binding| {
                binding.options_mut()?.firmware_bytes_wanted = bytes;
                Ok(())
            })
        };
    // suspend_bytes_wanted
    4: show |binding, _, out| line(out, fmt!("{}", binding.options.suspend_bytes_wanted)),
        store |gpu, page| {
            let bytes = number(page)?;
            gpu.change(|binding| binding.set_suspend_bytes(bytes))
        };
    // suspend_count
    5: show |binding, _, out| line(out, fmt!("{}", binding.options.suspend_count)),
        store |gpu, page| {
            let count = number(page)?;
            if count > SUSPEND_COUNT_MAX {
                return Err(EINVAL);
            }
            gpu.change(|binding| {
                binding.options_mut()?.suspend_count = count;
                Ok(())
            })
        };
    // allow_unprotected
    6: show |binding, _, out| line(out, fmt!("{}", u8::from(binding.options.allow_unprotected))),
        store |gpu, page| {
            let allow = switch(page)?;
            gpu.change(|binding| {
                let options = binding.options_mut()?;
                if allow && is_locked_down() {
                    return Err(EPERM);
                }
                options.allow_unprotected = allow;
                Ok(())
            })
        };
    // origin
    7: show |binding, _, out| line(out, fmt!("{}", BStr::from_bytes(&binding.options.origin))),
        store |gpu, page| {
            let origin = text(page, |byte| byte.is_ascii_graphic() || *byte == b' ')?;
            gpu.change(|binding| {
                binding.options_mut()?.origin = origin;
                Ok(())
            })
        };
    // commit
    8: show |binding, _, out| line(out, fmt!("{}", binding.decision().map_or("", Decision::name))),
        store |gpu, page| gpu.commit(Decision::from_name(value(page)?).ok_or(EINVAL)?);
    // state
    9: show |binding, _, out| line(out, fmt!("{}", binding.state().name()));
    // reason
    10: show |binding, driver, out| line(out, fmt!("{}", binding.reason(driver).name()));
    // exporter
    11: show |binding, _, out| line(out, fmt!("{}", BStr::from_bytes(binding.buffers().exporter())));
    // firmware_bytes
    12: show |binding, _, out| line(out, fmt!("{}", binding.buffers().firmware_bytes()));
    // suspend_wanted
    13: show |binding, _, out| line(out, fmt!("{}", binding.suspend_wanted()));
    // suspend_free
    14: show |binding, _, out| line(out, fmt!("{}", binding.suspend().free()));
    // suspend_in_use
    15: show |binding, _, out| line(out, fmt!("{}", binding.suspend().in_use()));
    // hold_left_ms
    16: show |binding, _, out| line(out, fmt!("{}", binding.hold_left_ms().unwrap_or(0)));
    // suspend_bytes
    17: show |binding, _, out| line(out, fmt!("{}", binding.suspend_bytes()));
}

#[kunit_tests(protheap_configfs)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_line() {
        assert!(value(b"bind\n") == Ok(b"bind"));
        assert!(value(b"") == Ok(b""));
        for bad in [&b"a\nb"[..], b"a\n\n", b"a\0", b"\0"] {
            assert!(value(bad) == Err(EINVAL));
        }
        assert!(value(&[b'x'; PAGE_FULL - 1]).is_ok());
        assert!(value(&[b'x'; PAGE_FULL]) == Err(EINVAL));
    }

    #[test]
    fn a_number_is_decimal_digits() {
        assert!(number::<u32>(b"4294967295\n") == Ok(u32::MAX));
        assert!(number::<u32>(b"0") == Ok(0));
        for bad in [
            &b""[..],
            b"\n",
            b"+1",
            b"-1",
            b" 1",
            b"1 ",
            b"0x1",
            b"00",
            b"007",
            b"4294967296",
        ] {
            assert!(number::<u32>(bad) == Err(EINVAL));
        }
    }

    #[test]
    fn a_switch_is_0_or_1() {
        assert!(switch(b"0") == Ok(false) && switch(b"1\n") == Ok(true));
        for bad in [&b""[..], b"2", b"y", b"01"] {
            assert!(switch(bad) == Err(EINVAL));
        }
    }

    #[test]
    fn a_text_has_allowed_characters_and_length() {
        let graphic = |byte: &u8| byte.is_ascii_graphic();
        assert!(text(b"protected,secure-video\n", graphic).is_ok());
        assert!(text(b"", graphic).is_ok());
        assert!(text(&[b'x'; TEXT_MAX], graphic).is_ok());
        assert!(text(&[b'x'; TEXT_MAX + 1], graphic).is_err());
        assert!(text(b"a b", graphic).is_err());
    }
}
