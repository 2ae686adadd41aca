//! One supervised actor for every component of the run book.
//!
//! * [`catalogue`]: the 64 components, each declared once
//! * [`supervision`]: restarts, budgets, circuits; what each component is doing
//! * [`worker`]: the loop that receives, handles, completes or gives back
//! * [`components`]: one module per component
//! * [`ingest`]: the doors through which logs come in
//! * [`alarms`]: states of alarms, each change told once
//! * [`views`]: what operators see and do
//! * [`pause`]: a drill that does nothing outside
//! * [`retention`]: how long objects and alerts are kept
//! * [`sealing`]: secrets never reach the log in the clear; [`sealing_key`]: which key they are sealed with
//! * [`system`]: everything above, started and stopped together

pub mod alarms;
pub mod api;
pub mod catalogue;
pub mod components;
pub mod ingest;
mod json;
pub mod pause;
pub mod retention;
pub mod sealing;
pub mod sealing_key;
pub mod supervision;
pub mod system;
pub mod views;
pub mod worker;
