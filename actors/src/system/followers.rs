//! Those who follow alerts get each new row of the table, newest last.

use std::time::Duration;

use panther_cluster::door::change::{IntoValue, RowExt};
use panther_cluster::state::read::Query;

use super::{Inner, Late};
use crate::components::alerts_api::summary;
use crate::components::log_alert_forwarder::{ALERTS, PARTITION};
use crate::dates::rfc3339;
use crate::life::Life;

/// How often the table is read while there are followers.
const LOOK: Duration = Duration::from_secs(1);

/// Sends new alerts to the followers until its life is over.
pub(super) async fn run(late: Late, life: Life) {
    let mut since: Option<String> = None;
    let mut ticks = life.ticks(LOOK);
    while ticks.next().await {
        if let Some(inner) = late.get().and_then(std::sync::Weak::upgrade) {
            look(&inner, &mut since).await;
        }
    }
}

async fn look(inner: &Inner, since: &mut Option<String>) {
    let door = &inner.settings.door;
    let now = rfc3339(door.now_ms());
    if inner.alerts.receiver_count() == 0 {
        // A follower that begins before the next look misses no alert of the time between.
        *since = Some(now);
        return;
    }
    let from = since.clone().unwrap_or(now);
    let query = Query {
        table: ALERTS.to_owned(),
        index: "timePartition-creationTime-index".to_owned(),
        hash: Some(PARTITION.into_value()),
        from: Some(from.as_str().into_value()),
        limit: 200,
        ..Query::default()
    };
    *since = Some(from);
    let Ok(page) = door.query(query).await else {
        return;
    };
    for (key, row) in page.rows {
        if let Some(created) = row.text("creationTime") {
            // The least time after this one: a text sorts behind its own beginning.
            *since = Some(format!("{created} "));
        }
        let line = panther_proto::json::of("AlertSummary", &summary(&key.hash, &row)).to_string();
        let _ = inner.alerts.send(line); // the last follower may have gone
    }
}
