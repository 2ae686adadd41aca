//! One module per component of the run book that is built as a function, and what several of them share.
//!
//! * [`objects`]: names of objects, and the notifications that tell of them
//! * [`sources`]: log sources as rows; [`log_types`]: built-in and user-made log types
//! * [`pack`]: the pack of detections that is live, and the engine that runs it

pub mod alert_delivery;
pub mod alerts_api;
pub mod analysis_api;
pub mod layer_manager;
pub mod log_alert_forwarder;
pub mod log_processor;
pub mod log_types;
pub mod notifications;
pub mod objects;
pub mod outputs_api;
pub mod pack;
pub mod rules_engine;
pub mod source_api;
pub(crate) mod source_health;
pub mod sources;
