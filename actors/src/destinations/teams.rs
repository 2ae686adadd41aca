//! A Microsoft Teams channel, by an incoming webhook or the webhook of a workflow. Both take a message with an Adaptive Card.

use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::destination::{Destination, DestinationType, Means};
use super::http::{CA_CERTIFICATE, Endpoint, WEBHOOK_URL};
use super::notice::Notice;
use super::spec::DestinationSpec;

pub(super) const TYPE: DestinationType = DestinationType::of::<Teams>(DestinationSpec {
    name: "teams",
    key: "msTeams",
    about: "A Microsoft Teams channel, by the webhook of a workflow or of a connector",
    fields: &[WEBHOOK_URL, CA_CERTIFICATE],
    example: r#"{"webhookURL": "https://teams.example/workflows/5d1c7e/triggers/manual?sig=Zm9vYmFyYmF6"}"#,
});

/// Bytes of one text. Teams refuses a message of more than 28 KB.
const TEXT_BYTES: usize = 5_000;

#[derive(Deserialize)]
#[serde(transparent)]
struct Teams(Endpoint);

impl Destination for Teams {
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
    let fields = [
        ("Severity", "severity"),
        ("Description", "analysisDescription"),
        ("Runbook", "runbook"),
        ("Alert", "alertId"),
    ];
    let fields = fields.into_iter().filter_map(|(name, of)| {
        let value = notice.text(of);
        let name = json!({"type": "TextRun", "text": format!("{name}: "), "weight": "Bolder"});
        (!value.is_empty()).then(|| block(vec![name, run(&value)]))
    });
    let mut title = run(&notice.title());
    title["size"] = "Large".into();
    title["weight"] = "Bolder".into();
    title["color"] = color(&notice.text("severity")).into();
    let body: Vec<Value> = std::iter::once(block(vec![title])).chain(fields).collect();
    let link = notice.link();
    let actions: Vec<Value> = link
        .map(|link| json!({"type": "Action.OpenUrl", "title": "Open the alert", "url": link}))
        .into_iter()
        .collect();
    json!({"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive",
        "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
            "body": body, "actions": actions,
        },
    }]})
}

fn block(runs: Vec<Value>) -> Value {
    json!({"type": "RichTextBlock", "inlines": runs})
}

/// A text as it is: Markdown has no effect in a run, so that no text of an alert becomes a link or a mention.
fn run(text: &str) -> Value {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = if end < text.len() { "…" } else { "" };
    json!({"type": "TextRun", "text": format!("{}{cut}", &text[..end])})
}

fn color(severity: &str) -> &'static str {
    match severity {
        "CRITICAL" | "HIGH" => "Attention",
        "MEDIUM" => "Warning",
        "LOW" => "Accent",
        _ => "Good",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Value {
        json!({"alertId": "a1", "title": "t [click](https://evil.example)", "severity": "HIGH", "type": "RULE",
            "runbook": "é".repeat(TEXT_BYTES), "analysisDescription": ""})
    }

    fn card(message: &Value) -> &Value {
        &message["attachments"][0]["content"]
    }

    #[test]
    fn an_alert_is_a_card_with_its_fields_and_its_link() {
        let alert = alert();
        let message = message(&Notice::new(&alert, Some("https://panther.example")));
        let body = card(&message)["body"].as_array().unwrap();
        let texts: Vec<String> = body
            .iter()
            .map(|block| {
                let runs = block["inlines"].as_array().unwrap().iter();
                runs.map(|run| run["text"].as_str().unwrap()).collect()
            })
            .collect();
        assert_eq!(texts.len(), 4, "an empty field is left out: {texts:?}");
        assert_eq!(texts[0], "New Alert: t [click](https://evil.example)");
        assert_eq!(texts[1], "Severity: HIGH");
        assert_eq!(texts[3], "Alert: a1");
        assert_eq!(
            card(&message)["actions"][0]["url"],
            "https://panther.example/log-analysis/alerts/a1"
        );
        assert!(message.to_string().len() < 28_000);
    }

    #[test]
    fn no_text_of_an_alert_is_read_as_markdown() {
        let alert = alert();
        let message = message(&Notice::new(&alert, None));
        for block in card(&message)["body"].as_array().unwrap() {
            // A TextBlock would read Markdown.
            assert_eq!(block["type"], "RichTextBlock");
        }
        assert_eq!(card(&message)["actions"], json!([]));
    }
}
