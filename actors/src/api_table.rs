//! `docs/api.md`: the methods of all APIs as their options in `proto/` say, and the codes of errors.

use std::fmt::Write as _;

use panther_proto::methods::{Method, methods};

use crate::api::ApiError;

/// The page.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(HEAD);
    let mut service = "";
    for method in methods().all() {
        if method.service != service {
            service = &method.service;
            let of = if method.component == "node" {
                "the node itself".to_owned()
            } else {
                format!("`{}`", method.component)
            };
            page += &format!(
                "\n## {service}\n\nAnswered by {of}.\n\n| method | what it does | request → answer | role | changes |\n| --- | --- | --- | --- | --- |\n"
            );
        }
        page += &row(method);
    }
    page += ERRORS;
    for (code, meaning) in ApiError::CODES {
        let _ = writeln!(page, "| `{code}` | {meaning} |"); // a String takes all
    }
    page
}

fn row(method: &Method) -> String {
    let (request, answer) = method.messages();
    let changes = match (method.changes, method.subject.as_slice()) {
        (false, _) => String::new(),
        (true, []) => "yes".to_owned(),
        (true, subject) => format!("yes; records `{}`", subject.join("`, `")),
    };
    let mut about = method.about.clone();
    if method.long {
        about += " May take minutes.";
    }
    if method.without_leader {
        about += " Answers without a leader too.";
    }
    format!(
        "| `{}` | {about} | `{request}` → `{answer}` | {} | {changes} |\n",
        method.name,
        method.role.as_str_name().to_lowercase()
    )
}

const HEAD: &str = "# APIs

Made from the options in `proto/proto/panther/v1/`.

A node serves these gRPC services (package `panther.v1`) on its Unix socket, beside the standard health service and server reflection:

    grpcurl -plaintext -unix /run/panther/pantherd.sock list
    grpcurl -plaintext -unix /run/panther/pantherd.sock panther.v1.NodeApi/Status

Messages have the JSON form that `pantherctl --json` prints: names as in the original, numbers of 64 bits as JSON numbers, and null for an
optional field without a value.

Metadata of a call:

| name | what it says |
| --- | --- |
| `panther-user-bin` | who calls, in UTF-8; the audit record holds it |
| `panther-request-id` | of a method that changes something: an id of the caller's choice, at most 128 bytes |
| `panther-request-time-ms` | when the request was issued, in milliseconds since 1970 |

A retry of a change with the same request id within ten minutes is one effect and gets the first answer. Each change leaves a record in the table
`panther-audit`, in the same command as the change: the user, the method, and the fields that the table below names. Work in several commands
is recorded as begun by its first command. A failed change leaves a record with the error.

There are no roles yet: who may open the socket may call all methods. The column says which role a method will need.
";

const ERRORS: &str = "
## Errors

A failed call has a gRPC status with a text for people, and in its metadata `panther-error-code` with a stable code.

| code | meaning |
| --- | --- |
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_of_apis_is_what_the_options_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == super::markdown(),
            "docs/api.md is old: cargo run -p panther-actors --example api > docs/api.md"
        );
    }
}
