//! Trace context: the trace that a request, a message or a change belongs to, and the span that caused it.
//!
//! The form is that of W3C Trace Context (`traceparent`, version 00), so that a caller's own trace goes on through the system. Messages and
//! commands carry the two ids in fields of their own ([`Send`](crate::v1::Send), [`Transact`](crate::v1::Transact)).

use std::fmt;
use std::str::FromStr;

/// The name of the HTTP header and of the gRPC metadata.
pub const TRACEPARENT: &str = "traceparent";

/// A span within a trace. A context is sent to what the span causes; [`TraceContext::child`] is the context of a span that it causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace. Not zero.
    trace: u128,
    /// The span. Zero: unknown.
    span: u64,
    /// True if the caller records the trace.
    sampled: bool,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a traceparent has the form 00-<32 hexadecimal digits>-<16 hexadecimal digits>-<2 hexadecimal digits>, and neither id is all zeros"
)]
pub struct TraceparentError;

impl TraceContext {
    /// The root span of a new trace.
    #[must_use]
    pub fn mint() -> Self {
        Self {
            trace: random() | 1,
            span: random_span(),
            sampled: true,
        }
    }

    /// The context that a message or a command carries; `None` if its trace id is not 1 to 32 hexadecimal digits, or zero.
    #[must_use]
    pub fn of(trace_id: &str, span_id: u64) -> Option<Self> {
        if trace_id.len() > 32 || !trace_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let trace = u128::from_str_radix(trace_id, 16).ok()?;
        (trace != 0).then_some(Self {
            trace,
            span: span_id,
            sampled: true,
        })
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span: random_span(),
            ..self
        }
    }

    /// The trace id: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The trace id as a number.
    #[must_use]
    pub fn trace(self) -> u128 {
        self.trace
    }

    /// The span id; 0: unknown.
    #[must_use]
    pub fn span_id(self) -> u64 {
        self.span
    }

    /// True if the caller records the trace. A minted trace is recorded.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.sampled
    }
}

/// The `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(out, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

/// Reads a `traceparent`, also one of a later version, as W3C Trace Context asks: what follows the flags is ignored.
impl FromStr for TraceContext {
    type Err = TraceparentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim().split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| {
                let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                part.len() == digits && part.bytes().all(is_hex)
            });
            part.and_then(|part| u128::from_str_radix(part, 16).ok())
                .ok_or(TraceparentError)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let goes_on = parts.next().is_some();
        let span = u64::try_from(span).map_err(|_| TraceparentError)?;
        if version == 0xff || (version == 0 && goes_on) || trace == 0 || span == 0 {
            return Err(TraceparentError);
        }
        Ok(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }
}

fn random() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

fn random_span() -> u64 {
    // The upper half of a random UUID holds the version; the lower half begins with the variant, two fixed bits.
    let (upper, lower) = uuid::Uuid::new_v4().as_u64_pair();
    (upper ^ lower.rotate_left(32)) | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_traceparent_keeps_its_ids_and_flags() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context: TraceContext = text.parse().unwrap();
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id(), 0x00f0_67aa_0ba9_02b7);
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), text);
        let child = context.child();
        assert_eq!(child.trace(), context.trace());
        assert_ne!(child.span_id(), context.span_id());
    }

    #[test]
    fn a_later_version_may_have_more_parts_and_version_0_may_not() {
        let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert!(
            format!("cc-{ids}-what-comes")
                .parse::<TraceContext>()
                .is_ok()
        );
        for wrong in [
            format!("00-{ids}-more"),
            format!("ff-{ids}"),
            ids.to_owned(),
            String::new(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01".to_owned(),
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        ] {
            assert_eq!(
                wrong.parse::<TraceContext>(),
                Err(TraceparentError),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_message_id_of_an_earlier_release_is_a_trace_id() {
        let context = TraceContext::of("00000000000000a7", 0).unwrap();
        assert_eq!(context.trace_id(), "000000000000000000000000000000a7");
        for wrong in ["", "0", "no", "+1", &"1".repeat(33)] {
            assert_eq!(TraceContext::of(wrong, 1), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_minted_is_read_back(_ in any::<u8>()) {
            let context = TraceContext::mint().child();
            prop_assert_eq!(context.to_string().parse(), Ok(context));
            prop_assert_eq!(TraceContext::of(&context.trace_id(), context.span_id()), Some(context));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = text.parse::<TraceContext>();
        }
    }
}
