//! The loop that a function's actor owns: receive, handle within a deadline, complete or give back.
//!
//! A handler is in two parts. `work` does what is dear (reads an object, runs Python) and is done once for a receive.
//! `plan` reads rows and says which changes and sends end the message; on a conflict it alone runs again. A panic, a
//! passed deadline or an error of the message counts against the message; a fault of the node does not: the message is
//! given back and the worker pauses before it takes more. What one message alone meets each time counts in the end.

mod handler;
mod returned;
mod run;
mod status;

pub use handler::{Context, Failure, Handler, Plan};
pub(crate) use run::panic_text;
pub use run::{Worker, WorkerSettings};
pub use status::{WorkerStatus, WorkerView};
