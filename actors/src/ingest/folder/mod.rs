//! Watched folders: log files are followed as they grow, through rotation, and each line is read once. Files are never changed or
//! deleted.
//!
//! Each folder source has a task of its own, so that a folder which hangs stops no other.
//!
//! * [`look`]: one look, on a thread of its own
//! * [`listing`]: what is in the folder, and what of it is left out
//! * [`follow`]: what each file holds, and what is read next
//! * [`lines`]: how far growing content may be read
//! * [`prefix`]: how content that was read is known again
//! * [`book`]: the rows that say what was read

mod book;
mod follow;
mod lines;
mod listing;
mod look;
mod prefix;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod rows;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt;
use panther_cluster::door::change::{self, Change, IntoValue};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::Objects;
use panther_cluster::state::read::Query;
use panther_cluster::storage::room::Room;
use panther_logs::{EventEnds, Limits, LogTypes, PartsWriter};
use panther_proto::v1::{RowChange, Transact};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::book::{Book, TABLE};
use self::follow::{Chunk, Content, Follower, Looked, Moment};
use self::listing::Watched;
use self::look::Done;
use super::commit::{Arrival, command, fresh_name, notification};
use super::door::{IngestDoor, Serving};
use super::intake::Intake;
use crate::component::Deps;
use crate::components::log_types::LogTypeRegistry;
use crate::components::objects::Written;
use crate::components::sources::{self, Source, SourceKind, SourceRegistry, SourceState};
use crate::life::Life;
use crate::supervision::RunFn;
use crate::traces::Traces;

pub(super) const DOOR: IngestDoor = IngestDoor {
    name: "watched-folders",
    serving: Serving::Loop(start),
};

/// A look that takes longer is named in the source's state.
const LOOK: Duration = Duration::from_secs(60);
/// How often it is seen which sources there are.
const SOURCES: Duration = Duration::from_secs(1);
/// How often rows are tidied up.
const TIDY: Duration = Duration::from_secs(3_600);
/// A row of a file that is there says so again after this time, milliseconds.
const SEEN_MS: u64 = 24 * 3_600_000;
/// A row whose content was in no file for this time is removed, milliseconds.
const GONE_MS: u64 = 30 * 24 * 3_600_000;
/// Rows that one command tidies up.
const TIDY_ROWS: usize = 500;

/// The door's loop. A paused cluster reads no folder.
fn start(deps: &Deps, _: Intake) -> RunFn {
    let log_types = LogTypeRegistry::new(deps.door.clone());
    let (door, objects, disk) = (deps.door.clone(), deps.objects.clone(), deps.disk.clone());
    let sources = deps.sources.clone();
    let watch = FolderWatch::new(door, objects, log_types, sources, disk, &deps.own_folders);
    let (watch, pause) = (Arc::new(watch), deps.pause.clone());
    Arc::new(move |life| {
        let (watch, pause) = (watch.clone(), pause.clone());
        async move {
            if life.wait(pause.ended()).await.is_some() {
                watch.run(life).await;
            }
        }
        .boxed()
    })
}

/// Watches the folders of all folder sources.
struct FolderWatch {
    door: Door,
    objects: Objects,
    log_types: LogTypeRegistry,
    sources: SourceRegistry,
    disk: Room,
    /// Folders of this daemon, which are no logs.
    own: Vec<PathBuf>,
}

impl FolderWatch {
    /// Behind this door. Nothing below the folders in `own` is read.
    fn new(
        door: Door,
        objects: Objects,
        log_types: LogTypeRegistry,
        sources: SourceRegistry,
        disk: Room,
        own: &[PathBuf],
    ) -> Self {
        let real = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        Self {
            door,
            objects,
            log_types,
            sources,
            disk,
            own: own.iter().map(real).collect(),
        }
    }

    /// Looks until its life is over.
    async fn run(&self, life: Life) {
        let mut tasks: BTreeMap<String, Running> = BTreeMap::new();
        let mut ticks = life.clone().ticks(SOURCES);
        while ticks.next().await {
            let mut wanted: BTreeMap<String, Source> = match self.sources.current().await {
                Ok(sources) => sources
                    .all()
                    .iter()
                    .filter(|source| source.kind == SourceKind::Folder)
                    .map(|source| (source.id.clone(), source.clone()))
                    .collect(),
                Err(error) => {
                    tracing::debug!(%error, "sources cannot be read; folders are looked through later");
                    continue;
                }
            };
            let types = match self.log_types.current().await {
                Ok(types) => types,
                Err(error) => {
                    tracing::debug!(%error, "log types cannot be read; folders are looked through later");
                    continue;
                }
            };
            // A task that ended, by a panic too, is started again, and so is one whose source or log types have changed.
            // The task of one that does not stay is ended.
            tasks.retain(|id, running| {
                let source = wanted.get(id);
                !running.task.is_finished()
                    && Arc::ptr_eq(&running.types, &types)
                    && source.is_some_and(|now| running.source.is_watched_as(now))
            });
            wanted.retain(|id, _| !tasks.contains_key(id));
            for (id, source) in wanted {
                let task = Task {
                    door: self.door.clone(),
                    traces: Traces::new(self.door.clone()),
                    objects: self.objects.clone(),
                    disk: self.disk.clone(),
                    watched: Watched {
                        root: PathBuf::from(&source.path),
                        follow_links: source.follow_links,
                        own: self.own.clone(),
                    },
                    source: source.clone(),
                    types: types.clone(),
                    started: Instant::now(),
                    said: None,
                };
                let running = Running {
                    source,
                    types: types.clone(),
                    task: tokio::spawn(task.run(life.stop())),
                };
                tasks.insert(id, running);
            }
        }
        for mut running in tasks.into_values() {
            let _ = (&mut running.task).await; // each sees the end by itself
        }
    }
}

/// A task, and what it was started for.
struct Running {
    source: Source,
    types: Arc<LogTypes>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows one source's folder.
struct Task {
    door: Door,
    traces: Traces,
    objects: Objects,
    disk: Room,
    source: Source,
    types: Arc<LogTypes>,
    watched: Watched,
    started: Instant,
    /// What this node last wrote into the source's state.
    said: Option<SourceState>,
}

impl Task {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut next = tokio::time::Instant::now();
        let mut follower: Option<Follower> = None;
        let mut tidied: Option<Instant> = None;
        while !*stop.borrow() {
            tokio::select! { () = tokio::time::sleep_until(next) => {}, _ = stop.changed() => return }
            next = tokio::time::Instant::now() + look::pause(Duration::ZERO);
            if self.disk.refusal().is_some() {
                continue; // files wait where they lie; the disk's alarm tells why
            }
            let present = match follower.take() {
                Some(follower) => follower,
                None => match self.book().await {
                    Ok(book) => {
                        let mut follower = Follower::new(book, Limits::default());
                        follower.set_ends(self.ends());
                        follower
                    }
                    Err(error) => {
                        tracing::debug!(%error, "rows of watched files cannot be read; it is tried again");
                        continue;
                    }
                },
            };
            let looked = tokio::select! { looked = self.look(present) => looked, _ = stop.changed() => return };
            let Some(Done {
                follower: mut present,
                looked,
                listed_in,
            }) = looked
            else {
                continue;
            };
            next = tokio::time::Instant::now() + look::pause(listed_in);
            let looked = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    let reason = format!(
                        "the folder cannot be listed: {error}; make it, or let the daemon's user read it"
                    );
                    self.say_of(&self.watched.root.clone(), &reason).await;
                    follower = Some(present);
                    continue;
                }
            };
            self.say(state(&looked.left_out)).await;
            let Looked {
                chunks, more, live, ..
            } = looked;
            match self.write(chunks).await {
                Ok(written) => {
                    present.written(written, self.door.now_ms());
                    if tidied.is_none_or(|at| at.elapsed() >= TIDY)
                        && self.tidy(&mut present.book, &live).await
                    {
                        tidied = Some(Instant::now());
                    }
                    if more {
                        next = tokio::time::Instant::now();
                    }
                    follower = Some(present);
                }
                // Another node read the same files, or the answer is unknown: the rows tell.
                Err(WriteError::Door(DoorError::Conflict(_))) => {}
                Err(error) => {
                    tracing::warn!(source = self.source.label, %error, "what was read of a watched folder could not be stored; it is read again");
                }
            }
        }
    }

    /// Looks through the folder. While that hangs, the source's state says where. `None`: the look has failed.
    async fn look(&mut self, follower: Follower) -> Option<Done> {
        let now = Moment {
            elapsed: self.started.elapsed(),
            wall: SystemTime::now(),
        };
        let begun = self.watched.look(follower, now);
        let mut look = begun
            .inspect_err(|error| tracing::error!(source = self.source.label, %error, "there is no thread for a look through a watched folder; it is tried again"))
            .ok()?;
        loop {
            match look.ended_within(LOOK).await {
                Some(done) => {
                    return done
                        .inspect_err(|error| tracing::error!(source = self.source.label, %error, "it is looked through again"))
                        .ok();
                }
                None => {
                    let reason = format!(
                        "it has not been read within {} s, and what follows in this source waits: does its disk or mount answer?",
                        LOOK.as_secs()
                    );
                    self.say_of(&look.at(), &reason).await;
                }
            }
        }
    }

    /// What knows where events of the source end. A source whose log types are not known has its lines read all the same: the log processor
    /// says what is wrong.
    fn ends(&self) -> Option<EventEnds> {
        EventEnds::new(&self.types, &self.source.log_types)
            .inspect_err(|error| tracing::debug!(source = self.source.label, %error, "the ends of events are not known"))
            .ok()
            .flatten()
    }

    async fn book(&self) -> Result<Book, DoorError> {
        let rows = self
            .door
            .query_all(Query {
                table: TABLE.to_owned(),
                hash: Some(self.source.id.clone().into_value()),
                ..Query::default()
            })
            .await?;
        Ok(Book::of(&rows))
    }

    /// Stores chunks and writes their rows, each together with the notification of its object.
    async fn write(&self, chunks: Vec<Chunk>) -> Result<Vec<Chunk>, WriteError> {
        let now = self.door.now_ms();
        let mut pieces = PartsWriter::default();
        let mut rows = Vec::new();
        let mut wholes: Vec<(RowChange, String, File, Written)> = Vec::new();
        let mut written_chunks = Vec::new();
        for mut chunk in chunks {
            let row = chunk
                .after
                .change(&self.source.id, chunk.before.as_deref(), now);
            match std::mem::replace(&mut chunk.content, Content::Nothing) {
                Content::Piece {
                    context,
                    body,
                    origin,
                } => {
                    if !context.is_empty() {
                        pieces.head(&origin, &context);
                    }
                    pieces.body(&origin, &body);
                    rows.push(row);
                }
                Content::Whole(file, written) => {
                    let digest = chunk.after.digest.get(..16).unwrap_or_default();
                    let name = format!("raw/{}/file-{}-{digest}", self.source.id, chunk.after.id);
                    let written = Written { name, ..written };
                    wholes.push((row, chunk.after.path.clone(), file, written));
                }
                Content::Nothing => rows.push(row),
            }
            written_chunks.push(chunk);
        }
        let bodies = rows.len();
        if pieces.is_empty() {
            if !rows.is_empty() {
                self.transact(rows).await?;
            }
        } else {
            let base = fresh_name(&self.source.id, now);
            let content = bytes::Bytes::from(pieces.finish());
            let written = Written::of(PartsWriter::name(&base), &content);
            self.objects.put(&written.name, content).await?;
            self.tell(&written, "", bodies, rows).await?;
        }
        for (row, path, file, written) in wholes {
            self.objects
                .put_file(&written.name, file, &written.hash)
                .await?;
            self.tell(&written, &path, 1, vec![row]).await?;
            tracing::info!(
                source = self.source.label,
                path,
                bytes = written.bytes,
                "file taken"
            );
        }
        Ok(written_chunks)
    }

    async fn transact(&self, changes: Vec<RowChange>) -> Result<(), DoorError> {
        let transact = Transact {
            changes,
            ..Transact::default()
        };
        self.door.transact(transact).await.map(drop)
    }

    /// Names an object and notifies the log processor of it, in one command with the rows of its files.
    async fn tell(
        &self,
        written: &Written,
        origin: &str,
        bodies: usize,
        rows: Vec<RowChange>,
    ) -> Result<(), DoorError> {
        let notification = notification(&self.source.id, written, origin);
        let arrival = Arrival {
            door: DOOR.name,
            bodies,
            ..Arrival::default()
        };
        let to = (&self.door, &self.traces);
        let trace = arrival.trace(&written.name).child();
        let transact = command(to, written, notification, (&arrival, trace), rows).await;
        self.door.transact(transact).await.map(drop)
    }

    /// Keeps rows of files that are there, and removes rows of content that was in no file for long. True if all was done.
    async fn tidy(&self, book: &mut Book, live: &[String]) -> bool {
        let now = self.door.now_ms();
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        for (row, seen) in book.seen() {
            let key = change::key_range(&self.source.id, &row.id);
            let since = now.saturating_sub(seen);
            if live.contains(&row.id) {
                if since >= SEEN_MS {
                    changes.push(
                        Change::update(TABLE, key)
                            .if_row_present()
                            .set("seenAt", now)
                            .done(),
                    );
                }
            } else if since >= GONE_MS {
                changes.push(
                    Change::delete(TABLE, key)
                        .if_equals("digest", &row.digest)
                        .done(),
                );
                gone.push(row.id.clone());
            }
        }
        for command in changes.chunks(TIDY_ROWS) {
            if let Err(error) = self.transact(command.to_vec()).await {
                tracing::debug!(%error, "rows of watched files could not be tidied up; it is tried again");
                return false;
            }
        }
        for id in gone {
            book.forget(&id);
        }
        true
    }

    /// Writes a state of one reason.
    async fn say_of(&mut self, path: &Path, reason: &str) {
        let reasons = vec![format!("{}: {reason}", path.display())];
        self.say(SourceState::troubled(1, reasons)).await;
    }

    /// Writes the source's state, once for each change.
    async fn say(&mut self, state: SourceState) {
        if self.said.as_ref() == Some(&state) {
            return;
        }
        match sources::set_state(&self.door, &self.source.id, &state).await {
            Ok(()) => {
                for reason in &state.reasons {
                    if !self
                        .said
                        .as_ref()
                        .is_some_and(|said| said.reasons.contains(reason))
                    {
                        tracing::warn!(
                            source = self.source.label,
                            reason,
                            "not all of a watched folder is read"
                        );
                    }
                }
                self.said = Some(state);
            }
            Err(error) => {
                tracing::debug!(%error, "a source's state could not be written; it is tried again")
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error(transparent)]
    Objects(#[from] panther_cluster::objects::ObjectsError),
}

fn state(left_out: &BTreeMap<PathBuf, String>) -> SourceState {
    let reasons = left_out
        .iter()
        .take(SourceState::REASONS)
        .map(|(path, reason)| format!("{}: {reason}", path.display()))
        .collect();
    SourceState::troubled(left_out.len(), reasons)
}
