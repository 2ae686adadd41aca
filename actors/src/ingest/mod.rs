//! The doors through which logs come in. Each ends in the same place: an object in the store, durable, and a notification
//! of it in the input queue, committed.
//!
//! * [`http`]: bodies of `POST /ingest/<source>`, gathered into objects
//! * [`folder`]: watched folders

pub mod folder;
pub mod http;
