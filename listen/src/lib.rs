//! The accept loop that every listener of a node uses. An unauthenticated caller cannot hold memory, file descriptors or time of the node.
//!
//! * [`places`]: connection limits, in total and per address, and eviction of an idle connection when a new one needs its slot
//! * [`descriptors`]: file descriptors that are reserved for the log, the state and the admin socket
//! * [`accept`]: the accept loop
//! * [`connection`]: HTTP on one connection: time limit for the first request, limit of concurrent calls
//! * [`body`]: budget for request bytes in memory
//! * [`deadline`]: deadline of a gRPC call
//!
//! The crate is independent of the services behind it. The caller adds TLS between [`accept`] and [`connection`].

pub mod accept;
pub mod body;
pub mod connection;
pub mod deadline;
pub mod descriptors;
pub mod places;

pub use accept::{Accepted, Listen, accept};
pub use body::{Budget, Held, Metered};
pub use connection::{Http, Protocol};
pub use places::{Place, PlaceCounts, PlaceHandle, PlaceLimits, Places, Working};
