//! Numbers of both kinds, compared exactly.

use super::stop::Stop;

/// A number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

/// Beyond this an integer has no exact double.
const EXACT: i64 = 1 << 53;

impl Number {
    pub(super) fn equals<'e>(self, other: Self) -> Result<bool, Stop<'e>> {
        self.compare(other)
            .map(|order| order == Some(std::cmp::Ordering::Equal))
    }

    pub(super) fn compare<'e>(self, other: Self) -> Result<Option<std::cmp::Ordering>, Stop<'e>> {
        Ok(match (self, other) {
            (Self::Int(one), Self::Int(two)) => Some(one.cmp(&two)),
            (Self::Float(one), Self::Float(two)) => one.partial_cmp(&two),
            (Self::Int(one), Self::Float(two)) => exact(one)?.partial_cmp(&two),
            (Self::Float(one), Self::Int(two)) => one.partial_cmp(&exact(two)?),
        })
    }

    pub(super) fn float<'e>(self) -> Result<f64, Stop<'e>> {
        match self {
            Self::Int(value) => exact(value),
            Self::Float(value) => Ok(value),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn exact<'e>(value: i64) -> Result<f64, Stop<'e>> {
    if (-EXACT..=EXACT).contains(&value) {
        Ok(value as f64)
    } else {
        Err(Stop::Hole(&"an integer beyond exact doubles"))
    }
}
