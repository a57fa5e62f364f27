// SPDX-License-Identifier: GPL-2.0

//! Events that notify user space of a binding: uevents of `/dev/protheap`.

use crate::{
    abstractions::uevent,
    binding::{
        Binding,
        State, //
    }, //
};
use kernel::{
    device::Device,
    prelude::*,
    str::CString, //
};

/// An event: the state of a binding, and what user space has to do for it.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    state: State,
    suspend_wanted: usize,
    suspend_bytes: usize,
    /// User space has to bind the GPU, because its driver needs a suspend buffer.
    is_demanded: bool,
    /// Groups have suspend buffers. Only set for a binding on demand.
    has_groups: bool,
}

impl Event {
    /// The event of a GPU without a binding.
    const NONE: Self = Event {
        state: State::Absent,
        suspend_wanted: 0,
        suspend_bytes: 0,
        is_demanded: false,
        has_groups: false,
    };

    /// Returns the event that describes a binding.
    pub(crate) fn of<O>(binding: Option<&Binding<O>>) -> Self {
        binding.map_or(Self::NONE, |binding| Event {
            state: binding.state(),
            suspend_wanted: binding.suspend_wanted(),
            suspend_bytes: binding.suspend_bytes(),
            is_demanded: binding.is_demanded(),
            has_groups: binding.is_on_demand() && binding.suspend().in_use() > 0,
        })
    }

    /// Returns whether user space has more to do, or sees another state, than after `old`.
    fn is_relevant_after(&self, old: &Self) -> bool {
        let grown =
            self.suspend_wanted > old.suspend_wanted || self.suspend_bytes > old.suspend_bytes;
        self.state != old.state
            || self.suspend_wanted > 0 && grown
            || self.is_demanded && !old.is_demanded
            || self.has_groups != old.has_groups
    }

    /// Sends the event, with the name of the GPU that it is about.
    pub(crate) fn send(&self, gpu: &Device) -> Result {
        let device = CString::try_from_fmt(fmt!("PROTHEAP_DEVICE={}", gpu.name()))?;
        let state = CString::try_from_fmt(fmt!("PROTHEAP_STATE={}", self.state.name()))?;
        let want = match self.suspend_wanted {
            _ if self.is_demanded => Some(c"PROTHEAP_WANT=binding"),
            0 => None,
            _ => Some(c"PROTHEAP_WANT=suspend"),
        };
        match want {
            Some(want) => uevent::send_change(&[&device, &state, want]),
            None => uevent::send_change(&[&device, &state]),
        }
    }
}

/// Notifies user space that the module is ready: `/dev/protheap` was there before the rest was.
pub(crate) fn send_ready() -> Result {
    uevent::send_change(&[])
}

/// Maximum number of queued events: more than a binding has on its way from open to in use.
const LENGTH: usize = 8;

/// Events to be sent. When the queue is full, a new event replaces the last one.
pub(crate) struct EventQueue {
    queued: [Event; LENGTH],
    count: usize,
    /// The event of the last [`EventQueue::put`], queued or not.
    last: Event,
}

impl EventQueue {
    /// Creates an empty queue.
    pub(crate) const fn new() -> Self {
        Self {
            queued: [Event::NONE; LENGTH],
            count: 0,
            last: Event::NONE,
        }
    }

    /// Queues an event if it is relevant after the previous one. Returns whether it is.
    pub(crate) fn put(&mut self, event: Event) -> bool {
        let is_relevant = event.is_relevant_after(&self.last);
        self.last = event;
        if is_relevant {
            self.count = (self.count + 1).min(LENGTH);
            if let Some(slot) = self.queued.get_mut(self.count - 1) {
                *slot = event;
            }
        }
        is_relevant
    }

    /// Removes and returns all events, the oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Event> {
        let count = core::mem::take(&mut self.count);
        self.queued.into_iter().take(count)
    }
}

#[kunit_tests(protheap_event)]
mod tests {
    use super::*;

    fn event(state: State, suspend_wanted: usize, suspend_bytes: usize) -> Event {
        Event {
            state,
            suspend_wanted,
            suspend_bytes,
            ..Event::NONE
        }
    }

    #[test]
    fn each_change_of_state_is_sent_in_order() {
        let mut events = EventQueue::new();
        for state in [State::Open, State::Held, State::Bound, State::InUse] {
            assert!(events.put(event(state, 0, 0)));
            assert!(!events.put(event(state, 0, 0)));
        }
        let mut sent = events.take().map(|event| event.state);
        for state in [State::Open, State::Held, State::Bound, State::InUse] {
            assert!(sent.next() == Some(state));
        }
        assert!(sent.next().is_none());
        assert!(events.take().next().is_none());
    }

    #[test]
    fn wanted_buffers_are_sent_when_they_grow() {
        let mut events = EventQueue::new();
        assert!(events.put(event(State::Bound, 2, 4096)));
        assert!(!events.put(event(State::Bound, 1, 4096)));
        assert!(events.put(event(State::Bound, 2, 4096)));
        assert!(events.put(event(State::Bound, 2, 8192)));
        assert!(!events.put(event(State::Bound, 0, 16384)));
    }

    #[test]
    fn each_demand_is_sent() {
        let mut events = EventQueue::new();
        let idle = event(State::OnDemand, 0, 0);
        let demanded = Event {
            is_demanded: true,
            ..idle
        };
        assert!(events.put(idle));
        assert!(events.put(demanded));
        assert!(!events.put(demanded));
        assert!(!events.put(idle));
        assert!(events.put(demanded));
    }

    #[test]
    fn the_first_and_the_last_group_are_sent() {
        let mut events = EventQueue::new();
        let idle = event(State::InUse, 0, 0);
        let busy = Event {
            has_groups: true,
            ..idle
        };
        assert!(events.put(idle));
        assert!(events.put(busy));
        assert!(!events.put(busy));
        assert!(events.put(idle));
    }

    #[test]
    fn a_full_queue_keeps_the_last_event() {
        let mut events = EventQueue::new();
        for _ in 0..LENGTH {
            events.put(event(State::Bound, 0, 0));
            events.put(event(State::InUse, 0, 0));
        }
        events.put(event(State::None, 0, 0));
        assert_eq!(events.count, LENGTH);
        assert!(events
            .take()
            .last()
            .is_some_and(|event| event.state == State::None));
    }
}
