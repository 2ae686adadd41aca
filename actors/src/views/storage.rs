//! What takes the room, how long it is kept, and single objects.

use std::collections::BTreeSet;
use std::io::Read;

use data_encoding::HEXLOWER;
use panther_logs::{EventEnds, Limits, Piece, RawReader};
use panther_proto::v1::{
    ObjectGetAnswer, ObjectGetRequest, RetentionPeriod, StorageAnswer, StorageCollectAnswer,
    StorageRetainAnswer, StorageRetainRequest, StoredAmount,
};

use super::Views;
use crate::api::{ApiError, CallContext};
use crate::components::log_types::LogTypeRegistry;
use crate::components::objects::table_name;
use crate::components::sources;
use crate::retention::collect::{self, Amounts};
use crate::retention::{Kept, MOST_DAYS, Periods};

/// Bytes of an object in one answer.
const CHUNK: usize = 1 << 20;

impl Views<'_> {
    pub(super) async fn stored(&self) -> Result<StorageAnswer, ApiError> {
        let survey = collect::survey(self.door).await?;
        let sources = self.sources.current().await?;
        let types = LogTypeRegistry::new(self.door.clone()).current().await?;
        let shown = |amounts: &Amounts| -> Vec<StoredAmount> {
            let amounts = amounts.0.iter();
            amounts
                .map(|((kind, folder), amount)| {
                    // Folders are named after a log type, or by a source's id.
                    let log_type = types.names().find(|name| table_name(name) == *folder);
                    let source = sources.all().iter().find(|source| source.id == *folder);
                    let label = log_type.map(ToString::to_string);
                    let label = label.or_else(|| source.map(|source| source.label.clone()));
                    StoredAmount {
                        kind: kind.as_str().to_owned(),
                        folder: folder.clone(),
                        of: label.unwrap_or_else(|| folder.clone()),
                        count: amount.count,
                        bytes: amount.bytes,
                        oldest_ms: Some(amount.oldest_ms),
                    }
                })
                .collect()
        };
        Ok(StorageAnswer {
            kept: shown(&survey.kept),
            expired: shown(&survey.expired),
            in_use: survey.in_use,
            retention: self.periods().await?,
        })
    }

    async fn periods(&self) -> Result<Vec<RetentionPeriod>, ApiError> {
        let periods = Periods::read(self.door).await?.all();
        let shown = periods.into_iter().map(|period| RetentionPeriod {
            kind: period.kind.as_str().to_owned(),
            log_type: period.log_type,
            days: period.days,
        });
        Ok(shown.collect())
    }

    pub(super) async fn retain(
        &self,
        context: &CallContext,
        retain: StorageRetainRequest,
    ) -> Result<StorageRetainAnswer, ApiError> {
        let kind: Kept = serde_json::from_value(retain.kind.into())
            .map_err(|error| ApiError::Invalid(format!("kind: {error}")))?;
        if retain
            .days
            .is_some_and(|days| !(1..=MOST_DAYS).contains(&days))
        {
            return Err(ApiError::Invalid(format!(
                "days must be 1 to {MOST_DAYS}, or null to keep data for ever"
            )));
        }
        if !retain.log_type.is_empty() {
            if !kind.has_log_types() {
                return Err(ApiError::Invalid(format!(
                    "{} have no log type; events, matches and errors do",
                    kind.as_str()
                )));
            }
            let types = LogTypeRegistry::new(self.door.clone()).current().await?;
            let known: BTreeSet<String> = types.names().map(|name| table_name(name)).collect();
            if !known.contains(&table_name(&retain.log_type)) {
                return Err(ApiError::NotFound(format!(
                    "there is no log type {}; `pantherctl schemas list` shows them",
                    retain.log_type
                )));
            }
        }
        let days = retain.days.unwrap_or(0);
        let transact = context.transact(self.door.now_ms(), Vec::new());
        Periods::set(self.door, transact, kind, &retain.log_type, days).await?;
        let answer = StorageRetainAnswer {
            retention: self.periods().await?,
        };
        context.keep(self.door, &answer).await?;
        Ok(answer)
    }

    pub(super) async fn collect(
        &self,
        context: &CallContext,
        dry_run: bool,
    ) -> Result<StorageCollectAnswer, ApiError> {
        let removed = if dry_run {
            collect::survey(self.door).await?.expired
        } else {
            collect::collect(self.door).await?
        };
        let (mut count, mut bytes) = (0, 0);
        for amount in removed.0.values() {
            count += amount.count;
            bytes += amount.bytes;
        }
        let answer = StorageCollectAnswer {
            dry_run,
            count,
            bytes,
        };
        self.finished(context, answer).await
    }

    /// A piece of an object, as it is stored; the caller asks for the next one from where this one ends.
    pub(super) async fn piece(
        &self,
        request: ObjectGetRequest,
    ) -> Result<ObjectGetAnswer, ApiError> {
        let ObjectGetRequest { name, from } = request;
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        let content = self.objects.range(&name, start, CHUNK).await?;
        let bytes = content.len();
        Ok(ObjectGetAnswer {
            name,
            from,
            bytes: super::count(bytes),
            last: bytes < CHUNK,
            content: HEXLOWER.encode(&content),
        })
    }

    /// The text of a record of a raw object, and the input that it stood in.
    pub(super) async fn raw_record(&self, object: &str, number: u64) -> Option<(String, String)> {
        let reader = self.objects.open(object).await.ok()?;
        let name = object.to_owned();
        let ends = self.event_ends(object).await;
        tokio::task::spawn_blocking(move || find(&name, reader, number, ends))
            .await
            .ok()?
    }

    /// What knows where the events of a raw object end, if its source is known. Where records end depends on it.
    pub(super) async fn event_ends(&self, object: &str) -> Option<EventEnds> {
        let source = match object
            .strip_prefix("raw/")
            .and_then(|name| name.split_once('/'))
        {
            Some((id, _)) => sources::by_id(self.door, id).await,
            None => self.sources.of_object(object).await,
        };
        let source = source.ok().flatten()?;
        let types = LogTypeRegistry::new(self.door.clone())
            .current()
            .await
            .ok()?;
        EventEnds::new(&types, &source.log_types).ok().flatten()
    }
}

fn find(
    object: &str,
    reader: impl Read,
    number: u64,
    mut ends: Option<EventEnds>,
) -> Option<(String, String)> {
    let mut pieces = RawReader::new(object, reader, Limits::default());
    let mut input = String::new();
    while let Ok(Some(piece)) = pieces.next_piece() {
        if let Some(ends) = &mut ends {
            pieces.set_within_event(ends.follow(&piece));
        }
        match piece {
            Piece::Input { origin } => input = origin,
            Piece::Record(record) if record.number == number => {
                return Some((input, String::from_utf8_lossy(&record.raw).into_owned()));
            }
            Piece::Record(_) | Piece::Context(_) | Piece::Gap => {}
        }
    }
    None
}
