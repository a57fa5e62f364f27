// SPDX-License-Identifier: GPL-2.0

//! Unit tests of bindings.

use kernel::prelude::kunit_tests;

#[kunit_tests(protheap_binding)]
mod suite {
    use crate::abstractions::compat::{
        EDQUOT,
        EMEDIUMTYPE,
        ENOBUFS,
        ENODATA,
        EOPNOTSUPP, //
    };
    use crate::{
        abstractions::dma_buf::DmaBuf,
        binding::{
            self,
            Allocated,
            Driver,
            Kind,
            Reason,
            State, //
        },
        source::{
            from_name,
            tests::buffer,
            Source, //
        }, //
    };
    use core::ptr::NonNull;
    use kernel::{
        prelude::*,
        str::CStr,
        sync::atomic::{
            Atomic,
            Relaxed, //
        },
        time::Instant, //
    };

    type Binding = binding::Binding<()>;

    /// Creates an open binding whose buffers are handed over, and may be mappable.
    fn binding(suspend_bytes: usize, suspend_count: u32) -> Result<Binding> {
        let mut binding = Binding::new(NonNull::dangling());
        binding.set_source(from_name(b"handed").ok_or(EINVAL)?)?;
        binding.set_suspend_bytes(suspend_bytes)?;
        let options = binding.options_mut()?;
        options.firmware_bytes_wanted = 8192;
        options.suspend_count = suspend_count;
        options.allow_unprotected = true;
        Ok(binding)
    }

    /// Returns number and size of the buffers.
    fn sizes(binding: &Binding) -> (usize, usize) {
        (binding.buffers().count(), binding.buffers().bytes())
    }

    /// Commits as the module does, without the locks.
    fn bind(binding: &mut Binding) -> Result {
        let request = binding.prepare()?;
        let (allocated, result) = request.allocate();
        binding.bind(allocated, result)
    }

    fn bound(suspend_bytes: usize, suspend_count: u32) -> Result<Binding> {
        let mut binding = binding(suspend_bytes, suspend_count)?;
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        for _ in 0..suspend_count {
            binding.hand_over(Kind::Suspend, buffer(suspend_bytes)?)?;
        }
        bind(&mut binding)?;
        Ok(binding)
    }

    #[test]
    fn hand_over_checks_size_kind_and_count() -> Result {
        let mut binding = binding(4096, 1)?;
        let twice = buffer(8192)?;
        let mut hand = |kind, bytes| binding.hand_over(kind, buffer(bytes)?);
        assert!(hand(Kind::Firmware, 4096) == Err(EMSGSIZE));
        assert!(hand(Kind::Firmware, 8192).is_ok());
        assert!(hand(Kind::Firmware, 8192) == Err(EBUSY));
        assert!(hand(Kind::Suspend, 4096).is_ok());
        assert!(hand(Kind::Suspend, 4096) == Err(ENOSPC));
        binding.options_mut()?.suspend_count = 3;
        binding.hand_over(Kind::Suspend, twice.clone())?;
        assert!(binding.hand_over(Kind::Suspend, twice) == Err(EEXIST));
        binding.options_mut()?.allow_unprotected = false;
        assert!(bind(&mut binding) == Err(EMEDIUMTYPE));
        Ok(())
    }

    #[test]
    fn a_buffer_belongs_to_one_binding_until_released() -> Result {
        let shared = buffer(8192)?;
        let mut first = binding(4096, 0)?;
        let mut second = binding(4096, 0)?;
        first.hand_over(Kind::Firmware, shared.clone())?;
        assert!(second.hand_over(Kind::Firmware, shared.clone()) == Err(EEXIST));
        first.withdraw();
        second.hand_over(Kind::Firmware, shared)
    }

    #[test]
    fn a_commit_is_final() -> Result {
        let mut binding = binding(4096, 0)?;
        assert!(bind(&mut binding) == Err(ENODATA));
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        bind(&mut binding)?;
        assert!(binding.state() == State::Bound);
        assert!(bind(&mut binding) == Err(EBUSY));
        assert!(binding.reject(Driver::Absent) == Err(EBUSY));
        assert!(binding.options_mut().is_err());
        assert!(binding.set_heap(KVec::new()) == Err(EBUSY));
        assert!(binding.hand_over(Kind::Firmware, buffer(8192)?) == Err(EBUSY));
        Ok(())
    }

    #[test]
    fn a_commit_rejects_concurrent_changes() -> Result {
        let mut binding = binding(4096, 0)?;
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        let request = binding.prepare()?;
        assert!(binding.prepare().is_err() && binding.options_mut().is_err());
        assert!(binding.hand_over(Kind::Suspend, buffer(4096)?) == Err(EBUSY));
        let (allocated, result) = request.allocate();
        binding.bind(allocated, result)?;
        assert!(binding.is_bound());
        Ok(())
    }

    #[test]
    fn take_firmware_returns_the_same_buffer_each_time() -> Result {
        let mut binding = bound(4096, 0)?;
        assert!(binding.take_firmware(8193).err() == Some(EMSGSIZE));
        let first = binding.take_firmware(8192)?;
        assert!(binding.state() == State::InUse);
        binding.detach();
        assert!(binding.state() == State::Bound);
        assert!(binding.take_firmware(1)? == first);
        Ok(())
    }

    #[test]
    fn withdrawn_buffers_stay_until_the_driver_releases_them() -> Result {
        let mut binding = bound(4096, 2)?;
        drop(binding.take_firmware(1)?);
        let group = binding.take_suspend(0, 0)?;
        binding.withdraw();
        assert!(binding.state() == State::Absent && !binding.is_bound());
        assert_eq!(sizes(&binding), (2, 8192 + 4096));
        // The driver may boot its firmware again meanwhile.
        assert!(binding.take_firmware(1).is_ok());
        assert!(binding.hand_over(Kind::Suspend, buffer(4096)?) == Err(ENODEV));
        binding.detach();
        assert!(!binding.is_over());
        assert!(!binding.put_suspend(group));
        assert!(binding.is_over());
        Ok(())
    }

    #[test]
    fn a_binding_on_demand_is_released_and_bound_again() -> Result {
        let mut binding = bound(4096, 1)?;
        drop(binding.take_firmware(1)?);
        let group = binding.take_suspend(0, 0)?;
        assert!(binding.bind_on_demand() == Err(EBUSY));
        assert!(binding.put_suspend(group));
        binding.bind_on_demand()?;
        assert!(binding.state() == State::OnDemand && !binding.is_bound());
        // The driver still holds the firmware's buffer.
        assert_eq!(sizes(&binding), (1, 8192));
        binding.put_firmware();
        assert_eq!(sizes(&binding), (0, 0));

        assert!(!binding.is_demanded());
        binding.set_demanded(true);
        assert!(binding.is_demanded());
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        bind(&mut binding)?;
        assert!(binding.is_bound() && !binding.is_demanded() && binding.is_on_demand());
        Ok(())
    }

    #[test]
    fn configure_suspend_releases_smaller_buffers() -> Result {
        let mut binding = bound(4096, 3)?;
        let group = binding.take_suspend(0, 0)?;
        binding.configure_suspend(2048);
        assert_eq!((binding.suspend().len(), binding.suspend_wanted()), (3, 0));
        binding.configure_suspend(8192);
        assert_eq!((binding.suspend().len(), binding.suspend_wanted()), (1, 2));
        assert!(!binding.put_suspend(group));
        assert_eq!(binding.suspend_wanted(), 3);
        assert!(binding.hand_over(Kind::Suspend, buffer(4096)?) == Err(EMSGSIZE));
        for _ in 0..3 {
            binding.hand_over(Kind::Suspend, buffer(8192)?)?;
        }
        assert_eq!(binding.suspend_wanted(), 0);
        Ok(())
    }

    #[test]
    fn configure_suspend_keeps_the_wanted_size() -> Result {
        let mut binding = bound(4096, 1)?;
        assert_eq!(binding.suspend_bytes(), 4096);
        binding.configure_suspend(8192);
        let wanted = binding.options.suspend_bytes_wanted;
        assert_eq!((wanted, binding.suspend_bytes()), (4096, 8192));
        binding.bind_on_demand()?;
        assert_eq!(binding.suspend_bytes(), 8192);
        binding.set_suspend_bytes(4096)?;
        assert_eq!(binding.suspend_bytes(), 4096);
        Ok(())
    }

    #[test]
    fn a_client_may_hold_half_of_the_suspend_buffers() -> Result {
        let mut binding = bound(4096, 5)?;
        assert!(binding.take_suspend(0, 0).is_ok());
        assert!(binding.take_suspend(1, 0).is_ok());
        assert!(binding.take_suspend(2, 0) == Err(EDQUOT));
        assert!(binding.take_suspend(2, 3).is_ok());
        assert!(binding.take_suspend(3, 3) == Err(EDQUOT));
        // Another client.
        assert!(binding.take_suspend(0, 0).is_ok());
        assert!(binding.take_suspend(1, 0).is_ok());
        assert!(binding.take_suspend(0, 0) == Err(ENOBUFS));
        Ok(())
    }

    #[test]
    fn a_client_may_hold_the_only_suspend_buffer() -> Result {
        let mut binding = bound(4096, 1)?;
        assert!(binding.take_suspend(1, 0) == Err(EDQUOT));
        assert!(binding.take_suspend(0, 0).is_ok());
        Ok(())
    }

    #[test]
    fn the_default_limit_counts_existing_buffers() -> Result {
        let mut binding = binding(4096, 8)?;
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        for _ in 0..4 {
            binding.hand_over(Kind::Suspend, buffer(4096)?)?;
        }
        bind(&mut binding)?;
        assert!(binding.suspend_lacking() > 0);
        assert!(binding.take_suspend(0, 0).is_ok());
        assert!(binding.take_suspend(1, 0).is_ok());
        assert!(binding.take_suspend(2, 0) == Err(EDQUOT));
        Ok(())
    }

    #[test]
    fn a_hold_times_out() -> Result {
        let mut binding = binding(4096, 0)?;
        binding.hold(Instant::now());
        assert!(binding.state() == State::Held);
        assert!(binding.hold_left_ms() == Some(0));
        binding.expire();
        assert!(binding.state() == State::Open && binding.hold_left_ms().is_none());
        assert!(binding.reason(Driver::Attached) == Reason::HeapLate);
        binding.reject(Driver::Attached)?;
        assert!(binding.state() == State::None);
        assert!(binding.reason(Driver::Absent) == Reason::HeapLate);
        Ok(())
    }

    /// A source with that many buffers left.
    struct Exhausted(Atomic<u32>);

    impl Source for Exhausted {
        fn name(&self) -> &'static str {
            "exhausted"
        }

        fn is_handed(&self) -> bool {
            false
        }

        fn allocate(&self, _heap: &CStr, bytes: usize) -> Result<DmaBuf> {
            match self.0.load(Relaxed) {
                0 => Err(ENOMEM),
                left => {
                    self.0.store(left - 1, Relaxed);
                    buffer(bytes)
                }
            }
        }
    }

    #[test]
    fn bind_takes_fewer_suspend_buffers_than_allowed() -> Result {
        static HEAP: Exhausted = Exhausted(Atomic::new(0));
        let bind_with = |buffers, count| {
            HEAP.0.store(buffers, Relaxed);
            let mut binding = binding(4096, count)?;
            binding.options_mut()?.source = &HEAP;
            bind(&mut binding)?;
            Ok::<_, Error>((binding.suspend().len(), binding.suspend_lacking()))
        };
        assert!(bind_with(0, 0) == Err(ENOMEM));
        assert!(bind_with(1, 0) == Ok((0, 0)));
        assert!(bind_with(1, 4) == Err(ENOMEM));
        assert!(bind_with(2, 4) == Ok((1, 3)));
        assert!(bind_with(4, 4) == Ok((3, 1)));
        assert!(bind_with(5, 4) == Ok((4, 0)));
        Ok(())
    }

    #[test]
    fn supply_ends_with_an_error_if_no_buffer_was_added() -> Result {
        let mut binding = bound(4096, 1)?;
        binding.configure_suspend(8192);
        let twice = buffer(8192)?;
        let supply = |binding: &mut Binding, buffer: DmaBuf| -> Result {
            let mut allocated = Allocated::default();
            allocated.suspend.push(buffer, GFP_KERNEL)?;
            binding.supply(allocated)
        };
        // The driver configured a larger size meanwhile.
        supply(&mut binding, buffer(4096)?)?;
        assert_eq!(binding.suspend().len(), 0);
        supply(&mut binding, twice.clone())?;
        binding.configure_suspend(4096);
        binding.options.suspend_count = 2;
        assert!(supply(&mut binding, twice) == Err(EEXIST));
        binding.options.allow_unprotected = false;
        assert!(supply(&mut binding, buffer(4096)?) == Err(EMEDIUMTYPE));
        Ok(())
    }

    #[test]
    fn a_parked_binding_releases_its_buffers() -> Result {
        let mut binding = bound(4096, 1)?;
        drop(binding.take_firmware(1)?);
        binding.park();
        assert!(!binding.is_bound() && binding.state() == State::InUse);
        binding.empty();
        assert_eq!(sizes(&binding), (1, 8192));
        binding.put_firmware();
        assert_eq!(sizes(&binding), (0, 0));
        assert!(binding.state() == State::Bound);
        assert!(binding.take_firmware(1).err() == Some(ENOENT));
        assert!(binding.hand_over(Kind::Suspend, buffer(4096)?) == Err(EAGAIN));
        let request = binding.refill_request().ok_or(EINVAL)??;
        // User space has to hand its buffers over again.
        assert!(binding.unpark(Some(request.allocate())).is_err());
        assert!(binding.state() == State::Open);
        binding.hand_over(Kind::Firmware, buffer(8192)?)?;
        bind(&mut binding)
    }

    #[test]
    fn the_kernel_allocates_lacking_buffers() -> Result {
        let Some(kernel) = from_name(b"kernel") else {
            return Ok(());
        };
        let mut binding = binding(4096, 2)?;
        binding.set_source(kernel)?;
        let mut heap = KVec::new();
        heap.extend_from_slice(b"system", GFP_KERNEL)?;
        binding.set_heap(heap)?;
        assert!(binding.hand_over(Kind::Firmware, buffer(8192)?) == Err(EOPNOTSUPP));
        bind(&mut binding)?;
        assert_eq!((sizes(&binding), binding.suspend_wanted()), ((3, 16384), 0));
        assert!(binding.suspend_request().is_none());
        binding.configure_suspend(16384);
        while let Some(request) = binding.suspend_request() {
            let (allocated, result) = request.allocate();
            binding.supply(allocated)?;
            result?;
        }
        assert_eq!(sizes(&binding), (3, 8192 + 2 * 16384));
        Ok(())
    }
}
