//! The engine.
mod verdict;
pub use verdict::{
    Change, Effects, EmptyView, Evaluation, EventInput, KeyValueChange, KeyValueRow, KeyValueView,
    Outcome, Outputs, RuleError, Statistics, Verdict, ViewError, ViewRead,
};
