//! Connection slots ("places") of a listener. When all places are taken, a new connection evicts an idle one.
//!
//! Why eviction: with a queue of waiting callers, silent connections could keep honest callers out. A limit per address alone does not help
//! either, because all callers behind a proxy share one address. So a new connection evicts the connection that makes the least use of its
//! place. First come connections without any admitted request: of those, the oldest one from the address that has the most of them. Then
//! comes the connection that has been idle for the longest time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Connection limits of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Maximum number of concurrent connections. Values below 1 count as 1.
    pub total: usize,
    /// Maximum number of concurrent connections from one address. All connections without an address, such as those of a Unix socket, count
    /// as one address.
    pub per_address: usize,
    /// Time for which an idle connection cannot be evicted, because its first request may be on the way.
    pub grace: Duration,
}

/// The connection slots of one listener. Clones share them.
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
    /// Sequence number of connections and of the ends of requests. It gives both an order.
    order: u64,
    connections: BTreeMap<u64, Connection>,
}

struct Connection {
    address: Option<IpAddr>,
    /// Number of requests in progress.
    working: usize,
    /// True after the first admitted request.
    proven: bool,
    /// True if the connection can be evicted although a request is in progress.
    gives_way: bool,
    /// Sequence number (`order`) of the connection's start, or of the end of its last request.
    since: u64,
    /// Time of the same event.
    rests_since: Instant,
    evicted: Arc<Notify>,
}

/// Counters of a listener since the start of the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaceCounts {
    /// Open connections.
    pub open: u64,
    /// Connections that got a place.
    pub accepted: u64,
    /// Connections that were evicted for a new one.
    pub evicted: u64,
    /// Connections that were rejected: their address had its maximum of busy connections, or too few file descriptors were free.
    pub refused: u64,
    /// Connections that were closed because their first request did not arrive in time.
    pub late: u64,
}

/// A connection slot. Dropping it frees the slot.
pub struct Place {
    handle: PlaceHandle,
}

/// A reference to a place that does not keep it occupied. A request carries it to its handler.
#[derive(Clone)]
pub struct PlaceHandle {
    places: Places,
    number: u64,
    address: Option<IpAddr>,
    evicted: Arc<Notify>,
}

/// Guard of a request in progress: while it exists, its connection is not evicted, unless [`PlaceHandle::give_way`] allows it.
pub struct Working {
    handle: PlaceHandle,
}

/// Result of an attempt to get a place.
enum Entry {
    Entered(Place),
    /// The address has its maximum of connections, and all of them are busy.
    AddressFull,
    /// No connection can be evicted now. The duration is the time until one can be; `None` means that all connections are busy.
    Full(Option<Duration>),
}

impl Places {
    /// Creates the slots of a listener.
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

    /// Gets a place for a connection from `address`. Waits while every connection is busy or within its grace time; every request has a
    /// deadline, so this wait ends. Returns `None` if the address has its maximum of connections and all of them are busy.
    pub async fn enter(&self, address: Option<IpAddr>) -> Option<Place> {
        loop {
            // Subscribe before the check, so that a place which is freed in between is not missed.
            let freed = self.inner.freed.notified();
            match self.try_enter(address) {
                Entry::Entered(place) => return Some(place),
                Entry::AddressFull => {
                    self.refuse();
                    return None;
                }
                Entry::Full(None) => freed.await,
                Entry::Full(Some(wait)) => {
                    let _ = tokio::time::timeout(wait, freed).await; // the loop checks again in both cases
                }
            }
        }
    }

    /// Counts a connection that was rejected.
    pub(crate) fn refuse(&self) {
        self.inner.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn try_enter(&self, address: Option<IpAddr>) -> Entry {
        let limits = self.inner.limits;
        let mut held = self.inner.held.lock();
        let of_address = held.count(|connection| connection.address == address);
        let address_full = of_address >= limits.per_address.max(1);
        let victim = if address_full || held.connections.len() >= limits.total.max(1) {
            match held.victim(address_full.then_some(address), limits.grace) {
                Victim::Ripe(victim) => Some(victim),
                Victim::Young(wait) => return Entry::Full(Some(wait)),
                Victim::Missing if address_full => return Entry::AddressFull,
                Victim::Missing => return Entry::Full(None),
            }
        } else {
            None
        };
        if let Some(connection) = victim.and_then(|victim| held.connections.remove(&victim)) {
            // `notify_one` stores a permit, because the task of the evicted connection may not be waiting yet.
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
                gives_way: false,
                since: number,
                rests_since: Instant::now(),
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

    /// The counters so far.
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

    /// Selects the connection to evict. With `of`, only connections of that address are candidates.
    fn victim(&self, of: Option<Option<IpAddr>>, grace: Duration) -> Victim {
        let mut unproven: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        let mut youngest: Option<Duration> = None;
        let mut ripe = Vec::new();
        for (number, connection) in &self.connections {
            let works = connection.working > 0 && !connection.gives_way;
            if works || of.is_some_and(|address| connection.address != address) {
                continue;
            }
            if !connection.proven {
                *unproven.entry(connection.address).or_default() += 1;
            }
            match grace.saturating_sub(connection.rests_since.elapsed()) {
                Duration::ZERO => ripe.push((*number, connection)),
                wait => youngest = Some(youngest.map_or(wait, |known| known.min(wait))),
            }
        }
        let victim = ripe.into_iter().min_by_key(|(_, connection)| {
            let crowd = match connection.proven {
                false => unproven.get(&connection.address).copied().unwrap_or(0),
                true => 0,
            };
            (std::cmp::Reverse(crowd), connection.since)
        });
        match (victim, youngest) {
            (Some((number, _)), _) => Victim::Ripe(number),
            (None, Some(wait)) => Victim::Young(wait),
            (None, None) => Victim::Missing,
        }
    }
}

/// The connection to be evicted for a new one.
enum Victim {
    /// This connection can be evicted now.
    Ripe(u64),
    /// All idle connections are within their grace time; the first one can be evicted after this time.
    Young(Duration),
    /// All connections are busy.
    Missing,
}

impl Place {
    /// A reference to this place.
    #[must_use]
    pub fn handle(&self) -> PlaceHandle {
        self.handle.clone()
    }

    /// Waits until this place is given to another connection. The caller must then close its connection.
    pub async fn evicted(&self) {
        self.handle.evicted.notified().await;
    }

    /// Counts a first request that did not arrive in time.
    pub fn note_late(&self) {
        let counts = &self.handle.places.inner.late;
        counts.fetch_add(1, Ordering::Relaxed);
    }
}

impl PlaceHandle {
    /// The address of the peer; `None` on a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Records that a request of the connection was admitted: the caller has the right to make it. Connections without an admitted request
    /// are evicted first.
    pub fn prove(&self) {
        let mut held = self.places.inner.held.lock();
        if let Some(connection) = held.connections.get_mut(&self.number) {
            connection.proven = true;
        }
    }

    /// Allows the eviction of this connection while the answer to a rejected request is held back.
    pub fn give_way(&self) {
        let places = &self.places.inner;
        if let Some(connection) = places.held.lock().connections.get_mut(&self.number) {
            connection.gives_way = true;
        }
        places.freed.notify_waiters();
    }

    /// Marks the start of a request. The request ends when the returned guard is dropped.
    #[must_use]
    pub fn work(&self) -> Working {
        let mut held = self.places.inner.held.lock();
        if let Some(connection) = held.connections.get_mut(&self.number) {
            connection.working += 1;
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
            connection.rests_since = Instant::now();
            drop(held);
            // A connection without a request in progress can be evicted.
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

    /// Helpers that poll a future once.
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
        Places::new(PlaceLimits {
            total,
            per_address,
            grace: Duration::ZERO,
        })
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
        for connection in [&first, &second, &first] {
            connection.handle().prove();
            drop(connection.handle().work());
        }
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
    fn a_refused_caller_whose_answer_is_held_back_gives_way() {
        let places = places(2, 1);
        let guesser = enter(&places, 1).unwrap();
        let _answer = guesser.handle().work();
        assert!(enter(&places, 1).is_none());
        guesser.handle().give_way();
        assert!(enter(&places, 1).is_some());
        assert!(is_evicted(&guesser));
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_just_come_keeps_its_place_for_a_moment() {
        let grace = Duration::from_millis(250);
        let places = Places::new(PlaceLimits {
            total: 1,
            per_address: 1,
            grace,
        });
        let first = places.enter(address(1)).await.unwrap();
        let began = Instant::now();
        let mut open = Vec::new();
        for last in [1, 2] {
            open.push(places.enter(address(last)).await.unwrap());
            assert!(began.elapsed() >= grace * u32::from(last));
        }
        assert!(is_evicted(&first));
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
