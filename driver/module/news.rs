// SPDX-License-Identifier: GPL-2.0

//! What user space is told of a binding, by uevents of `/dev/protheap`.

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

/// What user space is told of.
#[derive(Clone, Copy)]
pub(crate) struct News {
    state: State,
    suspend_wanted: usize,
    suspend_bytes: usize,
    /// The GPU is to be bound, because its driver wants a suspend buffer.
    is_demanded: bool,
    /// Groups have suspend buffers; only of a binding on demand.
    has_groups: bool,
}

impl News {
    /// There is no binding.
    const NONE: Self = News {
        state: State::Absent,
        suspend_wanted: 0,
        suspend_bytes: 0,
        is_demanded: false,
        has_groups: false,
    };

    /// What there is to say of a binding.
    pub(crate) fn of<O>(binding: Option<&Binding<O>>) -> Self {
        binding.map_or(Self::NONE, |binding| News {
            state: binding.state(),
            suspend_wanted: binding.suspend_wanted(),
            suspend_bytes: binding.options.suspend_bytes,
            is_demanded: binding.is_demanded(),
            has_groups: binding.is_on_demand() && binding.suspend().in_use() > 0,
        })
    }

    /// Whether user space has to act, or can see another state, after it was told of `old`.
    fn is_worth_telling(&self, old: &Self) -> bool {
        let grown =
            self.suspend_wanted > old.suspend_wanted || self.suspend_bytes > old.suspend_bytes;
        self.state != old.state
            || self.suspend_wanted > 0 && grown
            || self.is_demanded && !old.is_demanded
            || self.has_groups != old.has_groups
    }

    /// Sends it, as the news of that device.
    pub(crate) fn send(&self, device: &Device) -> Result {
        let device = CString::try_from_fmt(fmt!("PROTHEAP_DEVICE={}", device.name()))?;
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

/// Tells that everything can be used now: the device was there before the rest was.
pub(crate) fn send_ready() -> Result {
    uevent::send_change(&[])
}

/// How many news wait at most: more than a binding has on its way from open to in use.
const LENGTH: usize = 8;

/// News that wait to be sent. Where they come faster than they can be told, the last one is told.
pub(crate) struct Outbox {
    waiting: [News; LENGTH],
    count: usize,
    /// What was put in last, or is not worth telling.
    last: News,
}

impl Outbox {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self {
            waiting: [News::NONE; LENGTH],
            count: 0,
            last: News::NONE,
        }
    }

    /// Puts news in, if they are worth telling. True: they are.
    pub(crate) fn put(&mut self, news: News) -> bool {
        let worth = news.is_worth_telling(&self.last);
        self.last = news;
        if worth {
            self.count = (self.count + 1).min(LENGTH);
            if let Some(place) = self.waiting.get_mut(self.count - 1) {
                *place = news;
            }
        }
        worth
    }

    /// Takes all news out, the oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = News> {
        let count = core::mem::take(&mut self.count);
        self.waiting.into_iter().take(count)
    }
}

#[kunit_tests(protheap_news)]
mod tests {
    use super::*;

    fn news(state: State, suspend_wanted: usize, suspend_bytes: usize) -> News {
        News {
            state,
            suspend_wanted,
            suspend_bytes,
            ..News::NONE
        }
    }

    #[test]
    fn every_change_of_state_is_told_in_order() {
        let mut outbox = Outbox::new();
        for state in [State::Open, State::Held, State::Bound, State::InUse] {
            assert!(outbox.put(news(state, 0, 0)));
            assert!(!outbox.put(news(state, 0, 0)));
        }
        let mut told = outbox.take().map(|news| news.state);
        for state in [State::Open, State::Held, State::Bound, State::InUse] {
            assert!(told.next() == Some(state));
        }
        assert!(told.next().is_none());
        assert!(outbox.take().next().is_none());
    }

    #[test]
    fn a_want_is_told_when_it_grows() {
        let mut outbox = Outbox::new();
        assert!(outbox.put(news(State::Bound, 2, 4096)));
        assert!(!outbox.put(news(State::Bound, 1, 4096)));
        assert!(outbox.put(news(State::Bound, 2, 4096)));
        assert!(outbox.put(news(State::Bound, 2, 8192)));
        assert!(!outbox.put(news(State::Bound, 0, 16384)));
    }

    #[test]
    fn a_demand_is_told_each_time() {
        let mut outbox = Outbox::new();
        let idle = news(State::OnDemand, 0, 0);
        let demanded = News {
            is_demanded: true,
            ..idle
        };
        assert!(outbox.put(idle));
        assert!(outbox.put(demanded));
        assert!(!outbox.put(demanded));
        assert!(!outbox.put(idle));
        assert!(outbox.put(demanded));
    }

    #[test]
    fn the_first_and_the_last_group_are_told() {
        let mut outbox = Outbox::new();
        let idle = news(State::InUse, 0, 0);
        let busy = News {
            has_groups: true,
            ..idle
        };
        assert!(outbox.put(idle));
        assert!(outbox.put(busy));
        assert!(!outbox.put(busy));
        assert!(outbox.put(idle));
    }

    #[test]
    fn of_too_many_the_last_is_told() {
        let mut outbox = Outbox::new();
        for _ in 0..LENGTH {
            outbox.put(news(State::Bound, 0, 0));
            outbox.put(news(State::InUse, 0, 0));
        }
        outbox.put(news(State::None, 0, 0));
        assert_eq!(outbox.count, LENGTH);
        assert!(outbox
            .take()
            .last()
            .is_some_and(|news| news.state == State::None));
    }
}
