//! Failures as gRPC names them.

use std::io;

use panther_actors::api::ApiError;
use panther_cluster::door::DoorError;
use panther_proto::raw;
use panther_proto::v1::Code;
use serde_json::{Value, json};
use tonic::Status;
use tonic::metadata::MetadataValue;

/// Bytes of a message at most. It travels as a header, percent-encoded, and callers take 16 KB of headers.
const MESSAGE_BYTES: usize = 4_000;

/// What an API function's error is.
pub(crate) fn of_api(error: &ApiError) -> Status {
    let text = fitting(&error.to_string());
    let mut status = match error {
        ApiError::NotFound(_) => Status::not_found(text),
        ApiError::Invalid(_) => Status::invalid_argument(text),
        ApiError::Exists(_) => Status::already_exists(text),
        ApiError::Conflict(_) => Status::failed_precondition(text),
        ApiError::Busy(_) => Status::resource_exhausted(text),
        ApiError::Unavailable(_) => Status::unavailable(text),
        ApiError::NotBuilt(_) => Status::unimplemented(text),
        ApiError::Internal(_) => {
            tracing::warn!(%error, "a call failed inside the node");
            Status::internal(text)
        }
    };
    let code = MetadataValue::from_static(error.code());
    status.metadata_mut().insert(raw::ERROR_CODE, code);
    status
}

/// What a door's error is.
pub(super) fn of_door(error: &DoorError) -> Status {
    let text = fitting(&error.to_string());
    match error {
        DoorError::Refused(_) => match error.code() {
            Some(Code::UnknownName) => Status::not_found(text),
            Some(Code::NotUnique) => Status::already_exists(text),
            Some(Code::StaleReceipt | Code::StaleSession | Code::StaleRequest) => {
                Status::failed_precondition(text)
            }
            Some(Code::Full) => Status::resource_exhausted(text),
            Some(Code::Fault) => Status::internal(text),
            _ => Status::invalid_argument(text),
        },
        DoorError::Conflict(_) => Status::failed_precondition(text),
        DoorError::Busy { .. } => Status::resource_exhausted(text),
        DoorError::Unavailable(_) | DoorError::Removed(_) => Status::unavailable(text),
        DoorError::Deadline { .. } => Status::deadline_exceeded(text),
        DoorError::Store(cause) => match cause.kind() {
            io::ErrorKind::NotFound => Status::not_found(text),
            io::ErrorKind::InvalidInput => Status::invalid_argument(text),
            _ => Status::internal(text),
        },
    }
}

/// A text that fits: a list of problems keeps its first ones and says how many more there are, other text is cut.
fn fitting(text: &str) -> String {
    if encoded(text) <= MESSAGE_BYTES {
        return text.to_owned();
    }
    if let Ok(Value::Object(mut object)) = serde_json::from_str::<Value>(text)
        && let Some(Value::Array(problems)) = object.get_mut("problems")
    {
        let all = problems.len();
        let mut room = MESSAGE_BYTES - 300;
        let kept = problems
            .iter()
            .take_while(|problem| {
                let bytes = encoded(&problem.to_string()) + 3;
                let fits = bytes <= room;
                room = room.saturating_sub(bytes);
                fits
            })
            .count();
        problems.truncate(kept);
        if kept > 0 {
            problems.push(json!({"file": "", "key": "", "reason": format!("and {} further problems, not shown here", all - kept)}));
            let cut = Value::Object(object).to_string();
            if encoded(&cut) <= MESSAGE_BYTES {
                return cut;
            }
        }
    }
    let mut room = MESSAGE_BYTES - 30;
    let kept: String = text
        .chars()
        .take_while(|letter| {
            let bytes = encoded(letter.encode_utf8(&mut [0; 4]));
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        })
        .collect();
    format!("{kept} ...")
}

/// Bytes of a text once it is percent-encoded; letters, digits and most signs stay one byte.
fn encoded(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b' ' | b'"' | b'#' | b'<' | b'>' | b'`' | b'?' | b'{' | b'}' | b'%' => 3,
            0x21..=0x7E => 1,
            _ => 3,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_problems_stays_a_list_and_fits() {
        let problems: Vec<Value> = (0..500)
            .map(|number| json!({"file": format!("rules/{number}.yml"), "key": "Severity", "reason": "it is missing, \"quoted\""}))
            .collect();
        let cut = fitting(&json!({"problems": problems}).to_string());
        assert!(encoded(&cut) <= MESSAGE_BYTES, "{}", encoded(&cut));
        let read: Value = serde_json::from_str(&cut).unwrap();
        let kept = read["problems"].as_array().unwrap();
        let more = 500 - (kept.len() - 1);
        let last = kept.last().unwrap()["reason"].as_str().unwrap();
        assert!(kept.len() > 5 && last.contains(&more.to_string()), "{last}");
    }

    #[test]
    fn other_text_is_cut_at_a_letter() {
        let cut = fitting(&"ü".repeat(10_000));
        assert!(encoded(&cut) <= MESSAGE_BYTES && cut.ends_with("ü ..."));
        assert_eq!(fitting("short"), "short");
    }
}
