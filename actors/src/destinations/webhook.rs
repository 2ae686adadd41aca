//! A POST of the notification to any address.

use futures::future::BoxFuture;
use serde::Deserialize;

use super::answer::Answer;
use super::destination::{Destination, DestinationType, Means};
use super::http::{CA_CERTIFICATE, Endpoint, WEBHOOK_URL};
use super::notice::Notice;
use super::spec::DestinationSpec;

pub(super) const TYPE: DestinationType = DestinationType::of::<Webhook>(DestinationSpec {
    name: "webhook",
    key: "customWebhook",
    about: "POST each alert as JSON",
    fields: &[WEBHOOK_URL, CA_CERTIFICATE],
    example: r#"{"webhookURL": "https://soc.example/hooks/7f3c9a21"}"#,
});

#[derive(Deserialize)]
#[serde(transparent)]
struct Webhook(Endpoint);

impl Destination for Webhook {
    fn check(&self, means: &Means) -> Result<(), String> {
        self.0.check(&means.http)
    }

    fn address(&self) -> String {
        self.0.origin()
    }

    fn deliver<'a>(&'a self, notice: &'a Notice<'a>, means: &'a Means) -> BoxFuture<'a, Answer> {
        Box::pin(async move { means.http.post(&self.0, &[], &notice.notification()).await })
    }
}
