//! What rules ask of libraries now and then: a country by its code, how alike two texts are, the mathematics of distances.

use super::constants::Kind;
use super::names::Builtin;
use super::run::Run;
use super::similarity;
use super::stop::{Stop, raise};
use super::value::{Done, Instance, Value};

/// Pairs of characters that are compared; more is for Python.
const MOST_COMPARED: usize = 1 << 20;

impl<'e> Run<'e> {
    pub(super) fn of_library(
        &mut self,
        builtin: Builtin,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        match (builtin, positional, named) {
            (Builtin::Similarity, [Value::Text(a), Value::Text(b)], []) => {
                let compared = a.len().saturating_mul(b.len());
                if compared > MOST_COMPARED {
                    return Err(Stop::Hole(&"long texts that are compared"));
                }
                self.step(compared / 16)?;
                Ok(Value::Float(similarity::ratio(a, b)))
            }
            (Builtin::Country, [], [("alpha_2", Value::Text(code))]) if code.is_ascii() => {
                let countries = &self.program.countries;
                if countries.is_empty() {
                    return Err(Stop::Hole(&"countries"));
                }
                let found = countries.get(code.to_ascii_lowercase().as_str());
                Ok(found.map_or(Value::None, |country| self.bare(country)))
            }
            (Builtin::Radians | Builtin::Sin | Builtin::Cos | Builtin::Sqrt, [of], []) => {
                let of = real(of)?;
                let value = match builtin {
                    Builtin::Radians => of * (std::f64::consts::PI / 180.0),
                    Builtin::Sin => of.sin(),
                    Builtin::Cos => of.cos(),
                    _ if of < 0.0 => return Err(raise("ValueError")),
                    _ => of.sqrt(),
                };
                finite(value)
            }
            (Builtin::Atan2, [y, x], []) => finite(real(y)?.atan2(real(x)?)),
            _ => Err(Stop::Hole(&"a function of a library")),
        }
    }

    /// An instance that has what its class has.
    fn bare(&self, kind: &'e Kind) -> Value<'e> {
        Value::Instance(self.arena.alloc(Instance::bare(kind, self.arena)))
    }
}

fn real<'e>(of: &Value<'e>) -> Done<'e, f64> {
    match of.number() {
        Some(number) => number.float(),
        None => Err(Stop::Hole(&"mathematics of something else")),
    }
}

fn finite<'e>(value: f64) -> Done<'e> {
    if value.is_finite() {
        Ok(Value::Float(value))
    } else {
        Err(Stop::Hole(&"a float that is not finite"))
    }
}
