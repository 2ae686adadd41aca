//! One accept loop for every listener of a node. A caller who has proved nothing holds no memory, no descriptor and no time of the node.
//!
//! * [`places`]: how many connections there may be, in all and from one address, and which one ends when a new one needs its place
//! * [`descriptors`]: open files that are kept back from callers, for log, state and the admin socket
//! * [`accept`]: the loop
//! * [`connection`]: HTTP over one connection: how long a caller may take for its first request, how many calls it may have at one time
//! * [`body`]: bytes of requests that may be in memory at one time
//! * [`deadline`]: how long a gRPC call may take
//!
//! The crate knows nothing of what is served. TLS is the business of the caller, between [`accept`] and [`connection`].

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
