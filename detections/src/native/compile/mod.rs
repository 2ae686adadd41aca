//! From what Python told of a pack, and its code, to the functions of a [`Program`](super::program::Program): names become slots or constants, whatever is
//! not known becomes a hole.

mod calls;
mod expressions;
mod functions;
mod literals;
mod pack;
mod scope;
mod statements;
mod survey;

pub(super) use pack::Pack;

use super::program::Function;
use crate::threads::side_by_side;

/// All functions of a pack, in the order of their places.
pub(super) fn functions(pack: &Pack<'_>) -> Vec<Function> {
    side_by_side(pack.functions.iter().collect(), |(told, written)| {
        functions::function(pack, told, written)
    })
}
