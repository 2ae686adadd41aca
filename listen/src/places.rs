//! Places of connections. When all places are taken, a connection that does no work gives its place to the new one.
//!
//! A queue of waiting callers would let silent connections keep honest callers out. A limit for each address alone would not help either: behind a proxy
//! all callers have one address. So the place of a new caller comes from the caller who uses its own place least: first from connections that never had
//! an admitted request, of the address that has the most of them, the oldest one; then from the connection that has been idle for the longest time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many connections a listener may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Connections at one time. At least one is allowed.
    pub total: usize,
    /// Connections from one address at one time. Connections without an address, such as those of a Unix socket, count as one address.
    pub per_address: usize,
}

/// The places of one listener; clones share them.
#[derive(Clone)]
pub struct Places {
    inner: Arc<Inner>,
}

struct Inner {
    limits: PlaceLimits,
    held: Mutex<Held>,
    freed: Notify,
    accepted: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
}

#[derive(Default)]
struct Held {
    /// Counts entries and ends of work: the order of both.
    order: u64,
    connections: BTreeMap<u64, Connection>,
}

struct Connection {
    address: Option<IpAddr>,
    /// Requests that were admitted and have not ended.
    working: usize,
    /// Whether a request was ever admitted.
    proven: bool,
    /// When it came or its last work ended, in `order`.
    since: u64,
    evicted: Arc<Notify>,
}

/// What has happened at a listener since the node started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaceCounts {
    /// Connections that are open.
    pub open: u64,
    /// Connections that got a place.
    pub accepted: u64,
    /// Connections that were closed because a new one needed their place.
    pub evicted: u64,
    /// Connections that were closed at once: their address had too many that work, or too few descriptors were left.
    pub refused: u64,
    /// Connections that were closed because their first request did not come in time.
    pub late: u64,
}

/// A place. Dropping it gives the place back.
pub struct Place {
    handle: PlaceHandle,
}

/// Names a place without holding it: a request carries it to its handler.
#[derive(Clone)]
pub struct PlaceHandle {
    places: Places,
    number: u64,
    address: Option<IpAddr>,
    evicted: Arc<Notify>,
}

/// A request was admitted and has not ended: its connection is not closed for another one.
pub struct Working {
    handle: PlaceHandle,
}

/// What became of an attempt to enter.
enum Entry {
    Entered(Place),
    /// The address has its share, and all of it works.
    AddressFull,
    /// All places are taken, and all of them work.
    Full,
}

impl Places {
    /// With these limits.
    #[must_use]
    pub fn new(limits: PlaceLimits) -> Self {
        Self {
            inner: Arc::new(Inner {
                limits,
                held: Mutex::default(),
                freed: Notify::new(),
                accepted: AtomicU64::new(0),
                evicted: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                late: AtomicU64::new(0),
            }),
        }
    }

    /// A place for a connection from an address. It waits while every connection works; work has an end of its own.
    /// `None` if the address has its share of connections and every one of them works.
    pub async fn enter(&self, address: Option<IpAddr>) -> Option<Place> {
        loop {
            // Asked for before the look, so that a place which is freed between the two is not missed.
            let freed = self.inner.freed.notified();
            match self.try_enter(address) {
                Entry::Entered(place) => return Some(place),
                Entry::AddressFull => {
                    self.refuse();
                    return None;
                }
                Entry::Full => freed.await,
            }
        }
    }

    /// Counts a connection that was closed at once.
    pub(crate) fn refuse(&self) {
        self.inner.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn try_enter(&self, address: Option<IpAddr>) -> Entry {
        let limits = self.inner.limits;
        let mut held = self.inner.held.lock();
        let of_address = held.count(|connection| connection.address == address);
        let victim = if of_address >= limits.per_address.max(1) {
            match held.victim(Some(address)) {
                None => return Entry::AddressFull,
                victim => victim,
            }
        } else if held.connections.len() >= limits.total.max(1) {
            match held.victim(None) {
                None => return Entry::Full,
                victim => victim,
            }
        } else {
            None
        };
        if let Some(connection) = victim.and_then(|victim| held.connections.remove(&victim)) {
            // The task that serves it may not wait yet: the permit is kept for it.
            connection.evicted.notify_one();
            self.inner.evicted.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.accepted.fetch_add(1, Ordering::Relaxed);
        held.order += 1;
        let number = held.order;
        let evicted = Arc::new(Notify::new());
        held.connections.insert(
            number,
            Connection {
                address,
                working: 0,
                proven: false,
                since: number,
                evicted: evicted.clone(),
            },
        );
        drop(held);
        Entry::Entered(Place {
            handle: PlaceHandle {
                places: self.clone(),
                number,
                address,
                evicted,
            },
        })
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> PlaceCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PlaceCounts {
            open: self.inner.held.lock().connections.len() as u64,
            accepted: count(&self.inner.accepted),
            evicted: count(&self.inner.evicted),
            refused: count(&self.inner.refused),
            late: count(&self.inner.late),
        }
    }
}

impl Held {
    fn count(&self, of: impl Fn(&Connection) -> bool) -> usize {
        self.connections
            .values()
            .filter(|connection| of(connection))
            .count()
    }

    /// The connection that gives its place to a new one; of one address, if one is named.
    fn victim(&self, of: Option<Option<IpAddr>>) -> Option<u64> {
        let mut unproven: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        let idle = self.connections.iter().filter(|(_, connection)| {
            connection.working == 0 && of.is_none_or(|address| connection.address == address)
        });
        for (_, connection) in idle.clone().filter(|(_, connection)| !connection.proven) {
            *unproven.entry(connection.address).or_default() += 1;
        }
        idle.min_by_key(|(_, connection)| {
            let crowd = match connection.proven {
                false => unproven.get(&connection.address).copied().unwrap_or(0),
                true => 0,
            };
            (std::cmp::Reverse(crowd), connection.since)
        })
        .map(|(number, _)| *number)
    }
}

impl Place {
    /// Names it.
    #[must_use]
    pub fn handle(&self) -> PlaceHandle {
        self.handle.clone()
    }

    /// Returns once the place was given to another connection. The caller then closes its own.
    pub async fn evicted(&self) {
        self.handle.evicted.notified().await;
    }

    /// Counts that the first request did not come in time.
    pub fn note_late(&self) {
        let counts = &self.handle.places.inner.late;
        counts.fetch_add(1, Ordering::Relaxed);
    }
}

impl PlaceHandle {
    /// The address that the connection comes from; `None` on a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Says that a request of the connection was admitted; it has ended once the answer is dropped.
    #[must_use]
    pub fn work(&self) -> Working {
        let mut held = self.places.inner.held.lock();
        if let Some(connection) = held.connections.get_mut(&self.number) {
            connection.working += 1;
            connection.proven = true;
        }
        Working {
            handle: self.clone(),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let inner = &self.handle.places.inner;
        let mut held = inner.held.lock();
        held.order += 1;
        let now = held.order;
        if let Some(connection) = held.connections.get_mut(&self.handle.number) {
            connection.working = connection.working.saturating_sub(1);
            connection.since = now;
            drop(held);
            // A connection that ended its work can give its place away.
            inner.freed.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &self.handle.places.inner;
        inner.held.lock().connections.remove(&self.handle.number);
        inner.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use polled::now;
    use proptest::prelude::*;

    use super::*;

    /// Futures that are polled once.
    mod polled {
        use std::future::Future;
        use std::task::{Context, Poll, Waker};

        pub(super) fn now<F: Future>(future: F) -> Option<F::Output> {
            let mut future = std::pin::pin!(future);
            match future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            }
        }
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)))
    }

    fn places(total: usize, per_address: usize) -> Places {
        Places::new(PlaceLimits { total, per_address })
    }

    fn enter(places: &Places, last: u8) -> Option<Place> {
        now(places.enter(address(last))).flatten()
    }

    fn is_evicted(place: &Place) -> bool {
        now(place.evicted()).is_some()
    }

    #[test]
    fn a_silent_connection_of_the_largest_crowd_gives_its_place_to_a_new_caller() {
        let places = places(4, 4);
        let honest = enter(&places, 1).unwrap();
        let silent: Vec<Place> = (0..3).map(|_| enter(&places, 2).unwrap()).collect();
        let _new = enter(&places, 3).unwrap();
        assert!(!is_evicted(&honest));
        assert_eq!(
            silent.iter().map(is_evicted).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert_eq!(places.counts().evicted, 1);
    }

    #[test]
    fn silent_connections_go_before_idle_ones_that_had_a_request_and_these_by_age() {
        let places = places(3, 3);
        let (first, second) = (enter(&places, 1).unwrap(), enter(&places, 1).unwrap());
        drop(first.handle().work());
        drop(second.handle().work());
        drop(first.handle().work());
        let silent = enter(&places, 1).unwrap();
        let new = enter(&places, 2).unwrap();
        assert!(is_evicted(&silent) && !is_evicted(&first) && !is_evicted(&second));
        let _work = new.handle().work();
        let _newest = enter(&places, 3).unwrap();
        assert!(is_evicted(&second) && !is_evicted(&first) && !is_evicted(&new));
    }

    #[test]
    fn a_connection_that_works_keeps_its_place_and_a_new_caller_waits_for_an_end() {
        let places = places(1, 1);
        let place = enter(&places, 1).unwrap();
        let work = place.handle().work();
        let mut waits = std::pin::pin!(places.enter(address(2)));
        assert!(now(waits.as_mut()).is_none());
        drop(work);
        assert!(now(waits).flatten().is_some());
        assert!(is_evicted(&place));
    }

    #[test]
    fn an_address_whose_share_works_is_refused_and_others_come_in() {
        let places = places(3, 1);
        let place = enter(&places, 1).unwrap();
        let _work = place.handle().work();
        assert!(now(places.enter(address(1))).unwrap().is_none());
        assert_eq!(places.counts().refused, 1);
        assert!(enter(&places, 2).is_some());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Enter(u8),
        Begin(usize),
        End(usize),
        Leave(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0_u8..4).prop_map(Step::Enter),
            1 => (0_usize..8).prop_map(Step::Begin),
            1 => (0_usize..8).prop_map(Step::End),
            1 => (0_usize..8).prop_map(Step::Leave),
        ]
    }

    proptest! {
        #[test]
        fn limits_hold_and_no_connection_that_works_is_closed(
            total in 1_usize..6,
            per_address in 1_usize..6,
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let places = places(total, per_address);
            let mut open: Vec<(Place, Option<IpAddr>, Vec<Working>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Enter(last) => {
                        if let Some(place) = enter(&places, last) {
                            open.push((place, address(last), Vec::new()));
                        }
                    }
                    Step::Begin(at) => {
                        if let Some((place, _, work)) = open.get_mut(at) {
                            work.push(place.handle().work());
                        }
                    }
                    Step::End(at) => {
                        if let Some((_, _, work)) = open.get_mut(at) {
                            work.pop();
                        }
                    }
                    Step::Leave(at) if at < open.len() => {
                        let _ = open.swap_remove(at);
                    }
                    Step::Leave(_) => {}
                }
                let (closed, stay): (Vec<_>, Vec<_>) =
                    open.into_iter().partition(|(place, ..)| is_evicted(place));
                for (_, _, work) in &closed {
                    prop_assert!(work.is_empty(), "a connection that works was closed");
                }
                drop(closed);
                open = stay;
                prop_assert_eq!(places.counts().open as usize, open.len());
                prop_assert!(open.len() <= total);
                for last in 0..4 {
                    let here = open.iter().filter(|(_, from, _)| *from == address(last)).count();
                    prop_assert!(here <= per_address);
                }
            }
        }
    }
}
