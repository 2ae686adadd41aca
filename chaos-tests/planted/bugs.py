"""Planted bugs that the tests must catch. Each is a change of the sources that a tired developer could make.

`what` is the guarantee that the bug breaks; `change` is a list of (file, old text, new text). The old text must occur exactly once.
"""

from dataclasses import dataclass

STATE = "cluster/src/state/"
QUEUES = STATE + "queues/"
STORAGE = "cluster/src/storage/"


@dataclass(frozen=True)
class Bug:
    name: str
    what: str
    change: tuple[tuple[str, str, str], ...]


def bug(name: str, what: str, *change: tuple[str, str, str]) -> Bug:
    return Bug(name, what, change)


BUGS = [
    bug(
        "acknowledged before the log is synced",
        "what was acknowledged outlives a power cut",
        ("cluster/src/log/writer.rs", "        file.sync()?;\n", ""),
    ),
    bug(
        "a vote is not synced",
        "one leader a term, also after a power cut",
        (
            "cluster/src/log/mod.rs",
            "self.hand_over(vec![Record::Vote(vote)], true, told);",
            "self.hand_over(vec![Record::Vote(vote)], false, Box::new(|_| ()));\n        told(Ok(()));",
        ),
    ),
    bug(
        "a state that is ahead of its log is rebuilt from what is left",
        "a node that has lost its log takes no part",
        (
            STORAGE + "store.rs",
            "                not_ahead(applied.last, last)?;\n                if index_of(applied.last) >= index_of(purged) {",
            "                if not_ahead(applied.last, last).is_ok() && index_of(applied.last) >= index_of(purged) {",
        ),
    ),
    bug(
        "a vote is acknowledged before the high-water mark names it",
        "a vote that was given is never forgotten",
        (
            "cluster/src/log/writer.rs",
            "        if mark.vote != self.mark.kept.vote || mark.segment != self.mark.kept.segment {",
            "        if mark.segment != self.mark.kept.segment {",
        ),
    ),
    bug(
        "a completion does not check that its receipt is current",
        "effects of a message are there once",
        (
            QUEUES + "finish.rs",
            "if head.receive != receipt.receive || held_by_another {",
            "if held_by_another {",
        ),
    ),
    bug(
        "a layer's writes go to the store in two batches",
        "effects and the end of a message are there together or not at all",
        (
            STORAGE + "database.rs",
            "        let batch = layer_batch(db, layer, applied)?;\n        db.apply_batch(batch)",
            "        let half: Writes = layer.iter().take(layer.len() / 2).map(|(key, value)| (key.clone(), value.clone())).collect();\n"
            "        let _ = layer_batch(db, &half, applied).map(|batch| db.apply_batch(batch).and_then(|()| db.flush()));\n"
            "        let batch = layer_batch(db, layer, applied)?;\n        db.apply_batch(batch)",
        ),
    ),
    bug(
        "conditions are not checked in apply",
        "conditional updates are linearizable",
        (
            STATE + "tables/mod.rs",
            "    for change in changes {\n        check(tx, change)?;\n    }\n",
            "    let _ = check;\n",
        ),
    ),
    bug(
        "unique names are judged before the changes of a command",
        "unique names stay unique",
        (
            STATE + "tables/mod.rs",
            "    for change in changes {\n        self::change(tx, change)?;\n    }\n    for change in changes {\n        require_unique(tx, change)?;\n    }\n",
            "    for change in changes {\n        require_unique(tx, change)?;\n    }\n    for change in changes {\n        self::change(tx, change)?;\n    }\n",
        ),
    ),
    bug(
        "apply reads the wall clock",
        "replicas are equal at equal index",
        (
            STATE + "tx.rs",
            "        self.effects.globals.clock_ms\n",
            "        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)\n",
        ),
    ),
    bug(
        "apply goes through a map in the order of its hashes",
        "replicas are equal at equal index",
        (
            STATE + "machine.rs",
            "for (key, value) in &effects.own {",
            "for (key, value) in effects.own.iter().collect::<std::collections::HashMap<_, _>>() {",
        ),
    ),
    bug(
        "a queue's attributes come from the build and not from the state",
        "nodes of two releases apply alike",
        (QUEUES + "receive.rs", "            spec.visibility_ms\n", "            30_000\n"),
    ),
    bug(
        "the applied index is written apart from the writes",
        "effects of a message are there once",
        (
            STORAGE + "database.rs",
            "        let batch = layer_batch(db, layer, applied)?;\n        db.apply_batch(batch)",
            "        let _ = db.insert(items::APPLIED, encode_applied(applied)).and_then(|_| db.flush());\n"
            "        let batch = layer_batch(db, layer, applied)?;\n        db.apply_batch(batch)",
        ),
    ),
    bug(
        "a snapshot leaves out what was written while it was taken",
        "a node that starts from a snapshot has everything",
        (
            STORAGE + "store.rs",
            "        for (key, value) in &since {\n            file.item(key, value.as_ref())?;\n        }\n",
            "",
        ),
    ),
    bug(
        "a snapshot is made current before it is read in",
        "a snapshot that is damaged or cut off changes nothing",
        (
            STORAGE + "store.rs",
            "        let db = database::open(&folder, self.shared.settings)?;\n        let applied = database::load(&db, file)?;\n        // The snapshot file is kept first",
            "        let db = database::open(&folder, self.shared.settings)?;\n        folders::point_to(&self.root, &folder)?;\n        let applied = database::load(&db, file)?;\n        // The snapshot file is kept first",
        ),
    ),
    bug(
        "entries go to a follower by number and not by bytes",
        "a follower that lacks large entries catches up",
        (
            "cluster/src/raft/log_store.rs",
            "log.read(start..end, READ_BYTES)",
            "log.read(start..end, usize::MAX)",
        ),
    ),
    bug(
        "a receive is not noted with its session",
        "what a dead node held is received elsewhere",
        (QUEUES + "receive.rs", "    tx.put(keys::held(session, queue, seq), attempt.into());\n", "    let _ = attempt;\n"),
    ),
    bug(
        "a receive is not counted",
        "a message that kills its node ends in the dead letter queue",
        (QUEUES + "receive.rs", "    head.receives += 1;\n", ""),
    ),
    bug(
        "a node's death counts against all that it held",
        "no innocent message in a dead letter queue",
        (QUEUES + "finish.rs", "let lonely_death = alone && head.suspect;", "let lonely_death = alone || !head.suspect;"),
    ),
    bug(
        "a fault of the node counts against the message",
        "no innocent message in a dead letter queue",
        (QUEUES + "finish.rs", "        give_back.failed && !counted,\n", "        !counted,\n"),
    ),
    bug(
        "a requeue copies and does not remove",
        "ids before a requeue are ids after it",
        (
            QUEUES + "redrive.rs",
            "        super::finish::erase(tx, &from.name, seq, &head)?;\n        tx.counts_mut(&from.name).moved_out += 1;\n",
            "        tx.counts_mut(&from.name).moved_out += 1;\n",
        ),
    ),
    bug(
        "a requeue gives new ids",
        "ids before a requeue are ids after it",
        (
            QUEUES + "redrive.rs",
            "super::send::enqueue(tx, &to.name, &body, StoredHead::default())?;",
            'super::send::enqueue(tx, &to.name, &StoredBody { id: format!("{}-2", body.id), ..body.clone() }, StoredHead::default())?;',
        ),
    ),
    bug(
        "a requeue loses attributes",
        "a message comes back as it was",
        (
            QUEUES + "redrive.rs",
            "super::send::enqueue(tx, &to.name, &body, StoredHead::default())?;",
            "super::send::enqueue(tx, &to.name, &StoredBody { attributes: Default::default(), ..body.clone() }, StoredHead::default())?;",
        ),
    ),
    bug(
        "a requeue takes what came after it began",
        "what arrives later is not moved",
        (
            QUEUES + "redrive.rs",
            "let found = heads(tx, &from.name, requeue.after, requeue.upto)?;",
            "let found = heads(tx, &from.name, requeue.after, 0)?;",
        ),
    ),
    bug(
        "a purge removes everything in one command",
        "no command stops the flow for long",
        (QUEUES + "redrive.rs", "const STEP: usize = 500;", "const STEP: usize = 5_000_000;"),
    ),
    bug(
        "a panic in apply is not caught",
        "a defect in one command stops nothing else",
        (
            STATE + "machine.rs",
            "catch_unwind(AssertUnwindSafe(|| run(&mut tx, command)))",
            "Ok::<_, Box<dyn std::any::Any + std::marker::Send>>(AssertUnwindSafe(run(&mut tx, command)).0)",
        ),
    ),
    bug(
        "the door tries a change again that may have taken effect",
        "a change is made once",
        (
            "cluster/src/door/route.rs",
            "let Some(answer) = self.while_it_leads(node, call).await? else {",
            "let Some(answer) = self.while_it_leads(node, call).await.unwrap_or(None) else {",
        ),
    ),
    bug(
        "a request id is forgotten",
        "a request that is tried again has one effect",
        (STATE + "transact.rs", "    if !transact.request_id.is_empty() {\n        requests::remember", "    if false {\n        requests::remember"),
    ),
    bug(
        "a leader answers reads without asking the others",
        "reads are linearizable",
        (
            "cluster/src/door/route.rs",
            "        match self.group.read_index().await {\n",
            "        match Ok::<u64, ProposeError>(self.group.status().applied.unwrap_or(0)) {\n",
        ),
    ),
    bug(
        "a damaged state database ends the node",
        "a node mends itself from snapshot and log",
        (
            STORAGE + "store.rs",
            "                if matches!(\n                    error.kind(),",
            "                if error.raw_os_error() != Some(-1) || matches!(\n                    error.kind(),",
        ),
    ),
    bug(
        "a state database that is held is taken for a damaged one",
        "nothing that is whole is set aside",
        (STORAGE + "database.rs", "Err(error) if !is_locked(folder) => {", "Err(error) if folder.exists() => {"),
    ),
    bug(
        "a flipped byte in the log is taken for its torn end",
        "damage to what was acknowledged is refused",
        ("cluster/src/log/segments.rs", ".filter(|batch| *batch > last_batch + 1)", ".filter(|batch| *batch < last_batch)"),
    ),
    bug(
        "cluster time may go back",
        "nothing is deleted before its time",
        (
            STATE + "time.rs",
            "        if time_ms <= self.clock_ms {\n            return;\n",
            "        if time_ms <= self.clock_ms {\n            self.clock_ms = time_ms;\n            return;\n",
        ),
    ),
    bug(
        "a receive whose answer was lost gives new messages",
        "no message waits for a visibility that nobody holds",
        (QUEUES + "receive.rs", "    if receive.again {\n", "    if false {\n"),
    ),
    bug(
        "records of one row overtake each other",
        "records of one key are handled in order",
        (
            QUEUES + "mod.rs",
            "            return Ok(()); // becomes ready when the earlier message has left\n",
            "",
        ),
    ),
    bug(
        "a session is ended at the leader's next look after it was opened",
        "a node that was held still works again at once",
        ("cluster/src/door/among.rs", "if node == inner.node || young || ", "let _ = young;\n        if node == inner.node || "),
    ),
    bug(
        "what is read at a start is not synced",
        "a vote and an entry that a node goes by outlive a power cut",
        ("cluster/src/log/segments.rs", "        last.file.sync()?;\n", "        let _ = last;\n"),
    ),
    bug(
        "a leader that was started again leads on in its term",
        "no two entries have one number",
        ("cluster/src/raft/group.rs", "enable_leader_restore: Some(false),", "enable_leader_restore: Some(true),"),
    ),
    bug(
        "a clock that was set is trusted until the next judgement",
        "cluster time is never far ahead of true time",
        ("cluster/src/door/clock.rs", "offset_ms.abs_diff(state.judged_ms) > JUMP_MS {", "offset_ms.abs_diff(state.judged_ms) > u64::MAX - 1 {"),
    ),
    bug(
        "a clock that follows the leader adds the time since its last question",
        "cluster time is never far ahead of true time",
        ("cluster/src/door/clock.rs", "        state.pass(self.source.monotonic()); // the new time includes what has passed until now\n", ""),
    ),
    bug(
        "a wait for a change of a stopped group spins",
        "a node stops when it is asked to",
        ("cluster/src/raft/group.rs", "            tokio::time::sleep_until(until).await;\n", ""),
    ),
    bug(
        "a rule that loops fails the message",
        "one bad rule harms no other rule",
        (
            "actors/src/components/rules_engine/mod.rs",
            "        table.widen(&mut evaluation.effects);\n",
            "        table.widen(&mut evaluation.effects);\n"
            "        if evaluation.verdicts.iter().any(|verdict| matches!(&verdict.outcome, panther_detections::engine::Outcome::Failed(error) if error.kind == \"DetectionTimeout\")) {\n"
            "            return Err(Failure::Message { reason: \"a rule timed out\".to_owned(), retry_after: None, record: Vec::new() });\n"
            "        }\n",
        ),
    ),
    bug(
        "logs are acknowledged before anybody is told of them",
        "what was acknowledged outlives the process",
        (
            "actors/src/ingest/commit.rs",
            "        self.door.transact(transact).await?;\n",
            "        let door = self.door.clone();\n        tokio::spawn(async move { door.transact(transact).await });\n",
        ),
    ),
    bug(
        "two posts at one time under one key both count",
        "a body that is posted again is stored once",
        (
            "actors/src/ingest/commit.rs",
            "            .if_row_absent()\n            .set(\"object\", &written.name)",
            "            .set(\"object\", &written.name)",
        ),
    ),
    bug(
        "an idempotency key takes any body",
        "a body that is posted again is stored once",
        (
            "actors/src/ingest/commit.rs",
            "(row.text(\"hash\") == Some(hash)).then_some(object)",
            "(row.text(\"hash\").is_some() || hash.is_empty()).then_some(object)",
        ),
    ),
    bug(
        "a panic of the database is a defect of the command",
        "replicas are equal at equal index",
        (
            "cluster/src/storage/database.rs",
            "    catch_unwind(AssertUnwindSafe(ask))\n        .unwrap_or_else(|panic|",
            "    Ok(ask())\n        .unwrap_or_else(|panic: Box<dyn std::any::Any + Send>|",
        ),
    ),
    bug(
        "damage that is come upon in use is not noted",
        "a node mends itself from snapshot and log",
        ("cluster/src/storage/store.rs", "            && shared.damage.set(error.to_string()).is_ok()\n", "            && shared.damage.get().is_some()\n"),
    ),
    bug(
        "a leader whose disk stands still leads on",
        "writes go on though one disk does not",
        ("cluster/src/door/lead.rs", "        if since.elapsed() >= SLOW_FOR {", "        if since.elapsed() >= 1000 * SLOW_FOR {"),
    ),
    bug(
        "keys are found in their own spelling only",
        "Rust says of an event what Python says",
        ("detections/src/event/mod.rs", "if spelt.is_none() && name", "if spelt.is_some() && name"),
    ),
    bug(
        "what is remembered of an event is not checked",
        "Rust says of an event what Python says",
        ("detections/src/native/memo.rs", "        looked_up.iter().all(told)\n", "        looked_up.iter().all(told) || !looked_up.is_empty()\n"),
    ),
    bug(
        "a null is given its default",
        "Rust says of an event what Python says",
        (
            "detections/src/native/lookups.rs",
            "            Found::Yes(node) => wrap(node),\n            Found::No => Ok(default),\n",
            "            Found::Yes(crate::event::Node::Null) | Found::No => Ok(default),\n            Found::Yes(node) => wrap(node),\n",
        ),
    ),
    bug(
        "rows are taken to be empty though they are not",
        "Rust says of an event what Python says",
        ("detections/src/engine/stored.rs", "        holds &= row.as_ref().is_none_or(KeyValueRow::is_empty);\n", ""),
    ),
    bug(
        "what one body taught the parser is kept for the next",
        "one sender's header says nothing about another sender's body",
        ("actors/src/components/log_processor/read.rs", "                    self.classifier.begin_input();\n", ""),
    ),
    bug(
        "a body that cannot be read fails the object that it lies in",
        "a bad body harms no other sender's body",
        (
            "logs/src/object/parts.rs",
            "                    Err(ObjectError::Empty { .. }) => None,\n",
            "                    Err(ObjectError::Empty { .. }) => None,\n                    Err(error @ ObjectError::NotText { .. }) => return Err(error),\n",
        ),
    ),
    bug(
        "a copy that is still being made is read as a new file",
        "a watched folder reads each line once through every rotation",
        ("actors/src/ingest/folder/follow/copies.rs", "            if begins_with(theirs, content()?)? {\n", "            if begins_with(theirs, content()?)? && found.size == 0 {\n"),
    ),
    bug(
        "half a line is taken for a whole one",
        "a line without its end waits",
        (
            "actors/src/ingest/folder/follow/text.rs",
            "const LINE_RESTS: Duration = Duration::from_secs(30);\n",
            "const LINE_RESTS: Duration = Duration::from_secs(0);\n",
        ),
    ),
    bug(
        "half a character keeps a document from being opened",
        "an event that the parser takes can be shown",
        ("actors/src/json.rs", '            digits.copy_from_slice(b"fffd");\n', '            digits.copy_from_slice(b"d83d");\n'),
    ),
    bug(
        "an object that breaks off is refused as a whole",
        "an object with a broken tail gives its whole lines",
        (
            "logs/src/object/split.rs",
            "                        if error.is_read_failure() || record.number == 1 {\n",
            "                        if error.is_read_failure() || record.number >= 1 {\n",
        ),
    ),
    bug(
        "a replay counts its records as received again",
        "received never falls, and is the sum of the others",
        (
            "actors/src/components/log_processor/mod.rs",
            "            received: 0,\n            stored: signed(stored),\n            quarantined: signed(quarantined) - signed(received),\n",
            "            received: signed(received),\n            stored: signed(stored),\n            quarantined: signed(quarantined),\n",
        ),
    ),
    bug(
        "the ledger forgets the name of its source",
        "the ledger holds for sources that are gone",
        (
            "actors/src/components/log_processor/mod.rs",
            '        .set("sourceLabel", &source.label);\n    counts.add_to(change)\n',
            "        ;\n    counts.add_to(change)\n",
        ),
    ),
    bug(
        "a pack becomes live whatever its tests say",
        "what does not load or fails its tests does not become live",
        (
            "actors/src/components/analysis_api/upload.rs",
            "if !prepared.proof.failures.is_empty() && !upload.force {",
            "if false {",
        ),
    ),
    bug(
        "an upload deletes without asking",
        "nothing that is live is deleted unconfirmed",
        (
            "admin/src/commands/detections/upload.rs",
            'if plan["changes"].items("deleted").is_empty() {',
            'if plan["changes"].is_object() {',
        ),
    ),
    bug(
        "a certificate is enough to be heard",
        "a node that was removed can do nothing",
        (
            "cluster/src/net/gate.rs",
            "            Place::Removed(at_ms) => return Err(removal::refusal(from, self.cluster, at_ms)),\n            Place::Outside => false,\n",
            "            Place::Removed(_) | Place::Outside => callers == Callers::Admitted,\n",
        ),
    ),
    bug(
        "a call may name any term",
        "no call of one node ends the cluster",
        ("cluster/src/net/gate.rs", "        if highest.saturating_sub(self.term) > TERMS_AHEAD {", "        if highest < self.term && highest.saturating_sub(self.term) > TERMS_AHEAD {"),
    ),
    bug(
        "the only voter never gives its vote away",
        "wanted membership is reached",
        (
            "cluster/src/membership/plan.rs",
            "                None => Step::Vote(wanted),\n",
            "                None => Step::Rest,\n",
        ),
    ),
    bug(
        "votes are given to nodes whether or not they are there",
        "a change of membership does not end the cluster",
        (
            "cluster/src/membership/voters.rs",
            "    while !live_majority(&chosen) {\n",
            "    while chosen.is_empty() {\n",
        ),
    ),
    bug(
        "a node that joins may replicate while a member leads",
        "who is not a member changes nothing",
        (
            "cluster/src/net/entrance.rs",
            "matches!(place, Place::Newer | Place::Joining) && self.roll.member_leads();",
            "matches!(place, Place::Newer) && self.roll.member_leads();",
        ),
    ),
    bug(
        "a node greets the others where it knew them only",
        "wanted membership is reached when two nodes have moved",
        ("cluster/src/door/local.rs", "        self.greet_all(peers, elsewhere).await;\n", "        drop(elsewhere);\n"),
    ),
    bug(
        "rules may read the node's files",
        "code of a pack reads Python's files and its own only",
        ("detections/python/_panther_cell.py", "        self._landlock.confine(readable(self._layer), _DEVICES)\n", ""),
    ),
    bug(
        "results are sent without a look at what rules share",
        "a rule that changes a shared module harms no other rule",
        ("detections/python/_panther_worker.py", "    def _flush(self, batch):\n        self._look()\n", "    def _flush(self, batch):\n"),
    ),
    bug(
        "an object that ends within a hole of NUL bytes loses the hole",
        "every byte of an object is in a record or between two",
        (
            "logs/src/object/split.rs",
            "            return Step::Record(self.hole());\n",
            "            drop(self.hole());\n            return Step::On;\n",
        ),
    ),
    bug(
        "a line that is too long is passed over in silence",
        "every byte of an object is in a record or between two",
        (
            "logs/src/object/split.rs",
            "        let piece = rest.get(..bytes).unwrap_or(rest);\n        let missing",
            "        let piece = rest.get(..bytes / 2).unwrap_or(rest);\n        let missing",
        ),
    ),
    bug(
        "a gap in the numbers of segments is not noticed",
        "a node that has lost its log takes no part",
        ("cluster/src/log/segments.rs", ".find(|pair| pair[0] + 1 != pair[1])", ".find(|pair| pair[0] > pair[1])"),
    ),
    bug(
        "an empty log is a new one, whatever the mark says",
        "a node that has lost its log takes no part",
        ("cluster/src/log/segments.rs", "        None => Err(Loss::EmptyLog {", "        None if mark.batch > 0 => Ok(()),\n        None => Err(Loss::EmptyLog {"),
    ),
    bug(
        "a newest segment that is gone is not missed",
        "a node that has lost its log takes no part",
        ("cluster/src/log/segments.rs", "Some(last) if *last < mark.segment =>", "Some(last) if *last + 1_000_000 < mark.segment =>"),
    ),
    bug(
        "a log that ends before the mark is taken for whole",
        "a node that has lost its log takes no part",
        ("cluster/src/log/segments.rs", "        if at.batch < mark.batch {", "        if at.batch + 1_000_000 < mark.batch {"),
    ),
    bug(
        "batches may be missing between two others",
        "a node that has lost its log takes no part",
        ("cluster/src/log/segments.rs", "batch != followed.batch && batch != followed.batch + 1 {", "batch < followed.batch {"),
    ),
    bug(
        "the vote of the mark is not compared with the log's",
        "a vote that was given is never forgotten",
        ("cluster/src/log/segments.rs", "        if at.vote != mark.vote {", "        if mark.vote.is_none() && at.vote != mark.vote {"),
    ),
    bug(
        "the last entry of the mark is not compared with the log's",
        "a node that has lost its log takes no part",
        ("cluster/src/log/segments.rs", "        if at.last < mark.last {", "        if mark.last.is_none() && at.last < mark.last {"),
    ),
    bug(
        "entries may be missing between two others",
        "a node that has lost its log takes no part",
        ("cluster/src/log/segments.rs", "    check_gapless(&found.index)?;\n", "    let _ = check_gapless;\n"),
    ),
    bug(
        "a first segment that is gone is not missed",
        "a node that has lost its log takes no part",
        ("cluster/src/log/segments.rs", ".filter(|first| **first > 1)", ".filter(|first| **first > 1_000_000)"),
    ),
    bug(
        "a mark that does not check is believed",
        "a damaged mark refuses no start",
        ("cluster/src/log/mark.rs", "if crc32fast::hash(content.as_bytes()) != checksum || lines.next() != Some(HEAD) {", "let _ = checksum;\n        if lines.next() != Some(HEAD) {"),
    ),
    bug(
        "a node that has taken part may begin with an empty log",
        "a node that has lost its log takes no part",
        ("cluster/src/raft/group.rs", "        return if started {\n            Err(Loss::EmptyLog {", "        return if started && state.last.is_some() {\n            Err(Loss::EmptyLog {"),
    ),
    bug(
        "a vote may be older than the last entry's term",
        "a vote that was given is never forgotten",
        ("cluster/src/raft/group.rs", "    if state.vote.is_none_or(|vote| vote.term < last.term) {", "    if state.vote.is_none_or(|vote| vote.term < last.term) && last.term == u64::MAX {"),
    ),
    bug(
        "a state is built from a snapshot that the log does not reach",
        "a node that has lost its log takes no part",
        (STORAGE + "store.rs", "    if index_of(reaches) < index_of(purged) {\n        return Err(Loss::State {", "    if index_of(purged) == Some(u64::MAX) && index_of(reaches) < index_of(purged) {\n        return Err(Loss::State {"),
    ),
    bug(
        "the leader compares a node's hash with itself",
        "a replica that differs takes no part",
        ("cluster/src/door/among.rs", "self.compared.note(node, applied, own, hash);", "let _ = hash;\n            self.compared.note(node, applied, own, own);"),
    ),
    bug(
        "a leap of time is not noted",
        "nothing expires because of a leap",
        (STATE + "time.rs", "        let leaps = self.clock_ms != 0 && time_ms - self.clock_ms > LEAP_MS;", "        let leaps = self.clock_ms == 0 && time_ms - self.clock_ms > LEAP_MS;"),
    ),
    bug(
        "what a leap holds back is due a moment later",
        "nothing expires because of a leap",
        (STATE + "time.rs", "        let passed = since.saturating_sub(HOLD_MS);", "        let passed = since.saturating_mul(1_000_000);"),
    ),
    bug(
        "an entry that was stamped before time was set moves it",
        "time that was set back stays so",
        (STATE + "time.rs", "        if entry.era == self.era {", "        if entry.era <= self.era {"),
    ),
    bug(
        "time is set back and stamps are not",
        "a message that was delayed while time was ahead is not delayed for as long",
        (STATE + "time.rs", "        globals.back_by_ms = before.clock_ms - set.time_ms;\n", "        globals.back_by_ms = 0;\n"),
    ),
    bug(
        "a clock that nothing vouches for is followed",
        "cluster time is never far ahead of true time",
        ("cluster/src/door/clock.rs", "_ if leaps && !self.source.is_synchronised() =>", "_ if leaps && lead == u64::MAX && !self.source.is_synchronised() =>"),
    ),
    bug(
        "a node follows a time that it heard before time was set",
        "time that was set back stays so",
        ("cluster/src/door/clock.rs", "        } else if told.era == state.era {", "        } else {"),
    ),
    bug(
        "another sealing key than the cluster's is taken",
        "a node seals only what the others open",
        ("actors/src/sealing_key.rs", "        Some(cluster) if replaces => change", "        Some(cluster) if replaces || !cluster.is_empty() => change"),
    ),
    bug(
        "another sealing key than before is taken",
        "a node seals only what the others open",
        ("node/src/data_dir.rs", "known.filter(|known| *known != own)", "known.filter(|known| known.is_empty() && *known != own)"),
    ),
    bug(
        "any seal of a backup holds",
        "a forged backup is not restored",
        ("node/src/backup_seal.rs", "sealed.is_ok_and(|sealed| sealer(sealing_key).open(&said(about), &sealed).is_ok())", "sealed.is_ok_and(|sealed| sealer(sealing_key).open(&said(about), &sealed).is_ok() || sealed.len() > 20)"),
    ),
    bug(
        "a connection that does no work keeps its place",
        "a caller without a certificate keeps no other caller out",
        ("listen/src/places.rs", "            let works = connection.working > 0 && !connection.gives_way;\n", "            let works = connection.working == 0 || !connection.gives_way;\n"),
    ),
    bug(
        "descriptors are not kept back",
        "a caller without a certificate keeps no other caller out",
        ("listen/src/accept.rs", "            && descriptor > ceiling\n", "            && descriptor > ceiling && ceiling < 0\n"),
    ),
    bug(
        "a watched file that was swapped is read",
        "of a file that others name nothing else is read",
        ("actors/src/ingest/folder/listing.rs", "        if FileId::of(&stat) != found.id {", "        if FileId::of(&stat) != found.id && self.links() == Links::Followed && found.id.inode == 0 {"),
    ),
    bug(
        "files of the node itself are read from a watched folder",
        "of a file that others name nothing else is read",
        ("actors/src/ingest/folder/listing.rs", "self.own.iter().any(|own| real.starts_with(own))", "self.own.iter().all(|own| real.starts_with(own))"),
    ),
    bug(
        "one source may hold all places of a function",
        "a slow source holds up no other",
        ("actors/src/worker/run.rs", "u32::try_from(self.settings.turn_concurrency).unwrap_or(0)", "0"),
    ),
    bug(
        "a receive passes over the bound of a turn",
        "a slow source holds up no other",
        ("cluster/src/state/queues/receive.rs", "*held >= receive.turn_max", "*held > receive.turn_max"),
    ),
    bug(
        "another daemon's data may be read as logs",
        "no secret of a node is read as a log",
        ("actors/src/ingest/folder/listing.rs", " || data_folder_around(real).is_some()", ""),
    ),
    bug(
        "each blank line is a record",
        "some bytes of a sender do not become millions of records",
        ("logs/src/object/split.rs", "memchr::memrchr(b'\\n', blank)", "memchr::memchr(b'\\n', blank)"),
        ("logs/src/object/split.rs", "            if !at_end || !self.window.fill() {\n                break;\n            }\n        }\n        (self", "            let _ = at_end;\n            break;\n        }\n        (self"),
    ),
    bug(
        "a hole behind half a line is read into memory",
        "no name that others choose costs a node its memory",
        ("actors/src/ingest/folder/follow/text.rs", "    bytes.shrink_to_fit();\n", ""),
    ),
]
