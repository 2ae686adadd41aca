//! The loop that a function's actor owns: receive, handle within a deadline, complete or give back.
//!
//! A handler has three phases. `work` does what is expensive (reads and writes objects, runs Python), once for a receive.
//! `plan` reads rows and returns the changes and sends that complete the message; on a conflict only `plan` runs again.
//! `committed` applies local effects after the commit. A panic, a passed deadline or an error of the message counts against the message; a fault of the node does not: the message is
//! given back and the worker pauses before it takes more. What one message alone meets each time counts in the end.

mod handler;
mod returned;
mod run;
mod status;

pub use handler::{Context, Failure, Handler, Plan, PlanContext, PlannedObject};
pub(crate) use run::panic_text;
pub use run::{Worker, WorkerSettings};
pub use status::{WorkerStatus, WorkerView};
