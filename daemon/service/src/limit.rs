// SPDX-License-Identifier: MIT OR Apache-2.0

//! Limits on the number of pending calls, such as those waiting for polkit. Each uses memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A limit on the number of places in use at the same time, for each key.
#[derive(Debug)]
pub(crate) struct Limit<K> {
    most: usize,
    taken: Mutex<BTreeMap<K, usize>>,
}

impl<K: Ord + Clone + 'static> Limit<K> {
    pub(crate) const fn new(most: usize) -> Self {
        Self { most, taken: Mutex::new(BTreeMap::new()) }
    }

    /// Takes a place until the returned value is dropped. Returns `None` if all places of `key` are
    /// taken.
    pub(crate) fn take(&'static self, key: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { limit: self, key })
    }
}

/// A place of a [`Limit`], released on drop.
#[derive(Debug)]
pub(crate) struct Place<K: Ord + Clone + 'static> {
    limit: &'static Limit<K>,
    key: K,
}

impl<K: Ord + Clone + 'static> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.limit.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_per_key_and_released_on_drop() {
        static LIMIT: Limit<u32> = Limit::new(2);
        let places = [LIMIT.take(1).unwrap(), LIMIT.take(1).unwrap()];
        assert!(LIMIT.take(1).is_none());
        assert!(LIMIT.take(2).is_some());
        drop(places);
        assert!(LIMIT.taken.lock().unwrap().is_empty());
        assert!(LIMIT.take(1).is_some());
    }
}
