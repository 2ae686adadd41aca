//! One supervised actor for every component of the run book.
//!
//! * [`component`]: how a component is described and made; [`catalogue`]: what all of them are
//! * [`life`]: what a supervised loop is given
//! * [`supervision`]: restarts, budgets, circuits; what each component is doing
//! * [`worker`]: the loop that receives, handles, completes or gives back
//! * [`components`]: one folder per component
//! * [`dates`]: cluster times as dates
//! * [`destinations`]: where alerts are delivered, one file per type; [`egress`]: where alerts may go
//! * [`ingest`]: the doors through which logs come in
//! * [`alarms`]: states of alarms, each change told once
//! * [`api`]: typed methods; [`api_table`]: their table in the documentation; `call_context`: what a call carries beside its request; `audit`: who changed what
//! * [`callers`]: callers that this node's listeners turned away
//! * [`views`]: what operators see and do
//! * [`pause`]: a drill that does nothing outside
//! * [`retention`]: how long objects and alerts are kept
//! * `anchor`: files that others name are opened below a folder
//! * [`schedules`]: runs that are due once per period
//! * [`sealing`]: secrets never reach the log in the clear; [`sealing_key`]: which key they are sealed with
//! * [`traces`]: the way of one input through the system, hop by hop
//! * [`system`]: everything above, started and stopped together

pub mod alarms;
mod anchor;
pub mod api;
pub mod api_table;
mod audit;
mod call_context;
pub mod callers;
pub mod catalogue;
pub mod component;
pub mod components;
pub mod dates;
pub mod destinations;
pub mod egress;
pub mod ingest;
mod json;
pub mod life;
pub mod pause;
pub mod retention;
pub mod schedules;
pub mod sealing;
pub mod sealing_key;
pub mod supervision;
pub mod system;
pub mod traces;
pub mod views;
pub mod worker;
