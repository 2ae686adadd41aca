//! The address of a destination is a secret, and what comes back from the destination may repeat it. Nothing of the secret parts of an address
//! stays in a text that is kept.

use reqwest::Url;

/// Shortest part of an address that is taken for a secret.
const SECRET: usize = 8;
/// What stands in place of a secret.
const BLANK: &str = "[secret]";

/// Scheme and host of an address, which are no secret.
pub(crate) fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(
        |_| BLANK.to_owned(),
        |url| {
            let port = url
                .port()
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            format!(
                "{}://{}{port}",
                url.scheme(),
                url.host_str().unwrap_or_default()
            )
        },
    )
}

/// `text` without the address and without each of its parts that can be a secret, as they are written or percent-encoded.
pub(super) fn scrub(text: &str, url: &str) -> String {
    let mut secrets = vec![url.to_owned()];
    if let Ok(url) = Url::parse(url) {
        secrets.push(url.to_string());
        let segments = url.path_segments().into_iter().flatten();
        secrets.extend(segments.map(ToOwned::to_owned));
        for (_, value) in url.query_pairs() {
            secrets.push(value.into_owned());
        }
        let query = url.query().unwrap_or_default().split('&');
        secrets.extend(query.filter_map(|pair| Some(pair.split_once('=')?.1.to_owned())));
        secrets.push(url.query().unwrap_or_default().to_owned());
        secrets.push(url.fragment().unwrap_or_default().to_owned());
        secrets.push(url.username().to_owned());
        secrets.push(url.password().unwrap_or_default().to_owned());
        secrets.push(url.path().to_owned());
    }
    secrets.retain(|secret| secret.len() >= SECRET);
    // The longest first: a part of it must not be all that is blanked.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
        .iter()
        .fold(text.to_owned(), |text, secret| text.replace(secret, BLANK))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://user:passw0rd9@hooks.example:8443/services/T0000001/abcdefgh%2Fi?token=s3cr3tvalue&x=1#fragment-1";

    #[test]
    fn no_part_of_an_address_stays() {
        for text in [
            URL.to_owned(),
            format!("redirects to {}", URL.replace("https", "http")),
            "no such hook: T0000001".to_owned(),
            "bad token s3cr3tvalue, passw0rd9, abcdefgh%2Fi, fragment-1".to_owned(),
        ] {
            let clean = scrub(&text, URL);
            for secret in [
                "T0000001",
                "s3cr3tvalue",
                "passw0rd9",
                "abcdefgh",
                "fragment-1",
            ] {
                assert!(!clean.contains(secret), "{secret} is in {clean}");
            }
        }
        assert_eq!(scrub("it answered 500: boom", URL), "it answered 500: boom");
    }

    #[test]
    fn scheme_and_host_are_no_secret() {
        assert_eq!(origin(URL), "https://hooks.example:8443");
        assert_eq!(origin("no address"), BLANK);
    }
}
