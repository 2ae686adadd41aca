//! A Slack channel, by its incoming webhook.

use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::destination::{Destination, DestinationType, Means};
use super::http::{CA_CERTIFICATE, Endpoint, WEBHOOK_URL};
use super::notice::Notice;
use super::spec::DestinationSpec;

pub(super) const TYPE: DestinationType = DestinationType::of::<Slack>(DestinationSpec {
    name: "slack",
    key: "slack",
    about: "A Slack channel, by an incoming webhook",
    fields: &[WEBHOOK_URL, CA_CERTIFICATE],
    example: r#"{"webhookURL": "https://hooks.slack.example/services/T00000000/B00000000/4a5b6c7d8e9f"}"#,
});

#[derive(Deserialize)]
#[serde(transparent)]
struct Slack(Endpoint);

impl Destination for Slack {
    fn check(&self, means: &Means) -> Result<(), String> {
        self.0.check(&means.http)
    }

    fn address(&self) -> String {
        self.0.origin()
    }

    fn deliver<'a>(&'a self, notice: &'a Notice<'a>, means: &'a Means) -> BoxFuture<'a, Answer> {
        Box::pin(async move { means.http.post(&self.0, &[], &message(notice)).await })
    }
}

fn message(notice: &Notice<'_>) -> Value {
    let title = escaped(&notice.title());
    let field = |title: &str, name: &str, short: bool| json!({"title": title, "value": escaped(&notice.text(name)), "short": short});
    json!({"attachments": [{"fallback": title, "color": notice.color(), "title": title, "title_link": notice.link(), "fields": [
        field("Runbook", "runbook", false),
        field("Severity", "severity", true),
        field("Alert", "alertId", true),
    ]}]})
}

/// Text for Slack, in which these three letters begin its markup: a mention of a channel, or a link under another name.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_an_alert_holds_is_markup_for_slack() {
        let evil = "<!channel> <https://evil.example|click> & co";
        let alert = json!({"alertId": evil, "title": evil, "severity": evil, "runbook": evil, "type": "RULE"});
        let message = message(&Notice::new(&alert, None));
        let attachment = &message["attachments"][0];
        let fields = attachment["fields"].as_array().unwrap();
        let texts = [&attachment["fallback"], &attachment["title"]]
            .into_iter()
            .chain(fields.iter().map(|field| &field["value"]));
        for text in texts {
            let text = text.as_str().unwrap();
            assert!(
                !text.contains(['<', '>']) && text.contains("&amp; co"),
                "{text}"
            );
        }
    }
}
