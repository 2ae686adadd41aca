//! One actix actor per component, each under a policy: restart with back-off and jitter; too many restarts open its
//! circuit, and then nothing is received for it until the circuit is tried again or an operator closes it.
//!
//! actix restarts no panicked actor and bounds no mailbox. So work runs in tasks whose end the actor sees, calls are
//! admitted by a semaphore before they are sent, and a watch outside starts an actor anew whose mailbox has closed.

mod actor;
mod policy;
mod supervisor;

pub use actor::{ComponentState, RunFn, RunState};
pub use policy::{Decision, Policy, RestartBudget};
pub use supervisor::{Part, Supervisor};
