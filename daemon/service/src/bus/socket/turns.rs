// SPDX-License-Identifier: MIT OR Apache-2.0

//! Fair queueing of calls that were received but not passed on.
//!
//! A bus delivers calls in the order in which they were sent, so a sender of a thousand calls would
//! delay the calls of all others. Here, each sender has a short queue, and one call of each sender
//! is passed on in turn. Long calls take the longest to handle, so up to [`SHORT_BEFORE_LONG`]
//! short calls are passed on before a long one.

use std::collections::{HashMap, VecDeque};

/// Maximum number of waiting calls of one sender.
pub(super) const MOST_OF_SENDER: usize = 16;
/// Maximum length of a short call in bytes.
pub(super) const SHORT: usize = 4 << 10;
/// Maximum size of all waiting calls in bytes for accepting a short call of a sender that has no
/// waiting call.
const MOST: usize = 24 << 20;
/// The same limit for a long call of a sender that has no waiting call.
const MOST_LONG: usize = 16 << 20;
/// The same limit for a call of a sender that has waiting calls.
const MOST_AHEAD: usize = 8 << 20;
/// Number of short calls that are passed on between two long ones while both wait.
const SHORT_BEFORE_LONG: usize = 8;
/// Maximum number of refused calls of one sender that are answered until its queue is empty.
/// Further calls are dropped: answering a flood would delay the answers to others.
const ANSWERED: usize = 64;

/// Result of [`Turns::push`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The call waits for its turn.
    Waits,
    /// A limit is exceeded; the sender gets an error.
    Refused,
    /// A limit is exceeded; the sender gets no answer.
    Dropped,
}

/// The calls of one sender.
#[derive(Debug, Default)]
struct Queue {
    calls: VecDeque<Vec<u8>>,
    refused: usize,
}

/// Waiting calls by sender.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queues: HashMap<String, Queue>,
    /// Senders whose next call is short and senders whose next call is long, each in the order of
    /// their turns.
    short: VecDeque<String>,
    long: VecDeque<String>,
    /// Number of short calls passed on since the last long one.
    since_long: usize,
    bytes: usize,
}

impl Turns {
    /// Queues a call of `sender` unless that exceeds a limit.
    pub(super) fn push(&mut self, sender: &str, call: Vec<u8>) -> Verdict {
        let bytes = self.bytes + call.len();
        if let Some(queue) = self.queues.get_mut(sender) {
            if bytes > MOST_AHEAD || queue.calls.len() >= MOST_OF_SENDER {
                queue.refused += 1;
                return if queue.refused > ANSWERED { Verdict::Dropped } else { Verdict::Refused };
            }
            queue.calls.push_back(call);
        } else {
            if bytes > if is_long(&call) { MOST_LONG } else { MOST } {
                return Verdict::Refused;
            }
            self.line(&call).push_back(sender.to_owned());
            self.queues.insert(sender.to_owned(), Queue { calls: [call].into(), refused: 0 });
        }
        self.bytes = bytes;
        Verdict::Waits
    }

    /// Removes and returns the next call.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let long = self.short.is_empty() || self.since_long >= SHORT_BEFORE_LONG;
        let (first, second) = if long {
            (&mut self.long, &mut self.short)
        } else {
            (&mut self.short, &mut self.long)
        };
        let sender = first.pop_front().or_else(|| second.pop_front())?;
        let queue = self.queues.get_mut(&sender)?;
        let call = queue.calls.pop_front()?;
        match queue.calls.front().map(|next| is_long(next)) {
            Some(true) => self.long.push_back(sender),
            Some(false) => self.short.push_back(sender),
            None => drop(self.queues.remove(&sender)),
        }
        self.bytes -= call.len();
        self.since_long = if is_long(&call) { 0 } else { self.since_long + 1 };
        Some(call)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    fn line(&mut self, call: &[u8]) -> &mut VecDeque<String> {
        if is_long(call) { &mut self.long } else { &mut self.short }
    }
}

fn is_long(call: &[u8]) -> bool {
    call.len() > SHORT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a call of `length` bytes with the value `number`.
    fn call(number: u8, length: usize) -> Vec<u8> {
        vec![number; length]
    }

    fn rest(turns: &mut Turns) -> Vec<u8> {
        std::iter::from_fn(|| turns.pop()).map(|call| call[0]).collect()
    }

    #[test]
    fn senders_take_turns() {
        let mut turns = Turns::default();
        for number in 0..4 {
            assert_eq!(turns.push("many", call(number, 100)), Verdict::Waits);
        }
        assert_eq!(turns.push("one", call(10, 100)), Verdict::Waits);
        assert_eq!(turns.push("other", call(20, 100)), Verdict::Waits);
        assert_eq!(rest(&mut turns), [0, 10, 20, 1, 2, 3]);
        assert!(turns.is_empty());
    }

    #[test]
    fn flooding_sender_is_refused_then_ignored_until_its_queue_is_empty() {
        let mut turns = Turns::default();
        let push = |turns: &mut Turns, verdict, count| {
            (0..count).for_each(|_| assert_eq!(turns.push("flood", call(1, 100)), verdict));
        };
        push(&mut turns, Verdict::Waits, MOST_OF_SENDER);
        push(&mut turns, Verdict::Refused, ANSWERED);
        push(&mut turns, Verdict::Dropped, 1000);
        assert_eq!(turns.push("one", call(2, 100)), Verdict::Waits);
        assert_eq!(rest(&mut turns).len(), MOST_OF_SENDER + 1);
        push(&mut turns, Verdict::Waits, MOST_OF_SENDER);
        push(&mut turns, Verdict::Refused, 1);
    }

    #[test]
    fn long_calls_do_not_delay_short_ones_and_do_not_starve() {
        let mut turns = Turns::default();
        for (number, sender) in (100..).zip(["a", "b", "c"]) {
            assert_eq!(turns.push(sender, call(number, SHORT + 1)), Verdict::Waits);
        }
        for number in 0..20 {
            assert_eq!(turns.push(&format!("short{number}"), call(number, SHORT)), Verdict::Waits);
        }
        let order = rest(&mut turns);
        assert_eq!(order[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((order[8], order[17]), (100, 101));
        assert_eq!(order.len(), 23);
    }

    #[test]
    fn limits_leave_room_for_calls_of_other_senders() {
        let mut turns = Turns::default();
        let mut push = |sender: &str| turns.push(sender, call(1, 64 << 10));
        assert_eq!([(); 8].map(|()| push("one")), [Verdict::Waits; 8]);
        let flood = |turns: &mut Turns, from: usize, length| {
            let mut senders = (from..).map(|sender| sender.to_string());
            senders.find(|sender| {
                let first = turns.push(sender, call(1, length)) == Verdict::Refused;
                (1..MOST_OF_SENDER).for_each(|_| _ = turns.push(sender, call(1, length)));
                first
            })
        };
        flood(&mut turns, 0, 64 << 10);
        assert!(turns.bytes > MOST_LONG - (128 << 10) && turns.bytes <= MOST_LONG);
        assert_eq!(turns.push("polite", call(2, SHORT)), Verdict::Waits);
        flood(&mut turns, 1000, SHORT);
        assert!(turns.bytes <= MOST);
    }

    proptest! {
        /// No call is lost or passed on twice, the calls of each sender stay in order, and the size
        /// is bounded.
        #[test]
        fn waiting_calls_are_bounded_and_stay_in_order(
            steps in prop::collection::vec((0u8..40, 0usize..70_000, any::<bool>()), 0..600)
        ) {
            let mut turns = Turns::default();
            let mut expected = HashMap::<u8, VecDeque<u32>>::new();
            let mut numbers = 0_u32;
            let length = |length: usize| length.max(8);
            let mut bytes = 0;
            let check = |turns: &mut Turns, expected: &mut HashMap<u8, VecDeque<u32>>, bytes: &mut usize| {
                let call = turns.pop()?;
                *bytes -= call.len();
                let number = u32::from_le_bytes([call[0], call[1], call[2], call[3]]);
                assert_eq!(expected.get_mut(&call[4]).and_then(VecDeque::pop_front), Some(number));
                Some(())
            };
            for (sender, long, pops) in steps {
                let mut call = vec![0; length(long)];
                numbers += 1;
                call[..4].copy_from_slice(&numbers.to_le_bytes());
                call[4] = sender;
                let size = call.len();
                if turns.push(&sender.to_string(), call) == Verdict::Waits {
                    expected.entry(sender).or_default().push_back(numbers);
                    bytes += size;
                }
                prop_assert!(bytes <= MOST);
                if pops {
                    check(&mut turns, &mut expected, &mut bytes);
                }
            }
            while check(&mut turns, &mut expected, &mut bytes).is_some() {}
            prop_assert!(turns.is_empty() && bytes == 0 && expected.values().all(VecDeque::is_empty));
        }
    }
}
