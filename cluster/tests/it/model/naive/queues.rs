//! Queues: messages wait, are received in turn, and are completed, released, dead-lettered or moved.

use std::collections::BTreeSet;

use panther_proto::v1::{Code, Extend, FeedRecord, GiveBack, Receive, Requeue, Send};
use prost::Message as _;

use super::{Answer, Letter, Line, Naive, No, State, YIELD_MS};

impl Naive {
    pub(super) fn take_out(&mut self, queue: &str, id: &str) -> Letter {
        let line = self.line(queue);
        let at = line
            .letters
            .iter()
            .position(|letter| letter.id == id)
            .unwrap();
        let letter = line.letters.remove(at);
        if line.newest.get(&letter.coalesce_key) == Some(&letter.seq) {
            line.newest.remove(&letter.coalesce_key);
        }
        self.let_go();
        letter
    }

    pub(super) fn put_in(&mut self, queue: &str, mut letter: Letter) {
        let now = self.now;
        let line = self.line(queue);
        line.seq += 1;
        letter.seq = line.seq;
        letter.sent = now;
        letter.good = None;
        letter.suspect = false;
        if !letter.coalesce_key.is_empty() && !line.spec.dead_letter {
            line.newest.insert(letter.coalesce_key.clone(), letter.seq);
        }
        line.letters.push(letter);
    }

    // ------------------------------------------------------------------------------------------------- time

    /// Fires the timers of hidden messages, in order of time.
    pub(super) fn due(&mut self) {
        let mut due = Vec::new();
        for (queue, line) in &self.lines {
            for letter in &line.letters {
                match letter.state {
                    State::Hidden { until } | State::InFlight { until, .. }
                        if until <= self.now =>
                    {
                        due.push((until, queue.clone(), letter.seq, letter.id.clone()));
                    }
                    _ => {}
                }
            }
        }
        due.sort();
        for (_, queue, _, id) in due {
            let letter = self.letter(&queue, &id);
            let was = std::mem::replace(&mut letter.state, State::Ready);
            if matches!(was, State::InFlight { .. }) {
                self.let_go();
                self.failed(&queue, &id);
            }
        }
    }

    pub(super) fn expire(&mut self) {
        let now = self.now;
        for queue in self.lines.keys().cloned().collect::<Vec<_>>() {
            let line = self.line(&queue);
            let retention = line.spec.retention_ms;
            let old: Vec<String> = line
                .letters
                .iter()
                .filter(|letter| {
                    retention > 0
                        && letter.sent + retention <= now
                        && !matches!(letter.state, State::InFlight { .. })
                })
                .map(|letter| letter.id.clone())
                .collect();
            for id in old {
                self.take_out(&queue, &id);
                self.line(&queue).fates.expired.push(id);
            }
        }
    }

    pub(super) fn letter(&mut self, queue: &str, id: &str) -> &mut Letter {
        self.line(queue)
            .letters
            .iter_mut()
            .find(|letter| letter.id == id)
            .unwrap()
    }

    /// Counts a failure. At the limit the message goes to the dead letter queue.
    pub(super) fn failed(&mut self, queue: &str, id: &str) {
        let limit = self.line(queue).spec.max_receive_count;
        self.line(queue).fates.failures += 1;
        let letter = self.letter(queue, id);
        letter.failures += 1;
        if limit > 0 && letter.failures >= limit {
            self.bury(queue, id);
        }
    }

    pub(super) fn bury(&mut self, queue: &str, id: &str) {
        let dlq = self.line(queue).spec.dlq.clone();
        let mut letter = self.take_out(queue, id);
        letter.origin = queue.to_owned();
        letter.state = State::Ready;
        self.line(queue).fates.dead.push(id.to_owned());
        self.line(&dlq).fates.accepted += 1;
        self.put_in(&dlq, letter);
    }

    // --------------------------------------------------------------------------------------------- messages

    pub(super) fn send(
        &mut self,
        queue: &str,
        send: &Send,
        feed: bool,
        bounded: bool,
    ) -> Result<String, No> {
        let now = self.now;
        let line = self.line(queue);
        line.fates.accepted += 1;
        if !send.dedup_id.is_empty() && line.spec.dedup_window_ms > 0 {
            line.dedup.retain(|(_, until)| *until > now);
            if line.dedup.iter().any(|(id, _)| *id == send.dedup_id) {
                line.fates.deduplicated += 1;
                return Ok(String::new());
            }
            let until = now + line.spec.dedup_window_ms;
            line.dedup.push((send.dedup_id.clone(), until));
        }
        if let Some(&seq) = line.newest.get(&send.coalesce_key) {
            let last_of_group = line
                .letters
                .iter()
                .rfind(|letter| letter.group == send.group)
                .map(|letter| letter.seq);
            let letter = line
                .letters
                .iter_mut()
                .find(|letter| letter.seq == seq)
                .unwrap();
            let waits = !matches!(letter.state, State::InFlight { .. });
            let in_order = letter.group == send.group
                && (letter.group.is_empty() || last_of_group == Some(seq));
            if waits && in_order {
                letter.body = if feed {
                    let old = FeedRecord::decode(&letter.body[..]).unwrap().old;
                    let newer = FeedRecord::decode(&send.body[..]).unwrap();
                    FeedRecord { old, ..newer }.encode_to_vec()
                } else {
                    send.body.to_vec()
                };
                letter.attributes = send.attributes.clone();
                // A receiver of the old body cannot end the new one.
                letter.good = None;
                line.fates.coalesced += 1;
                return Ok(letter.id.clone());
            }
        }
        self.ids += 1;
        let letter = Letter {
            id: format!("{:016x}", self.ids),
            seq: 0,
            body: send.body.to_vec(),
            attributes: send.attributes.clone(),
            coalesce_key: send.coalesce_key.clone(),
            turn: send.turn.clone(),
            group: send.group.clone(),
            origin: String::new(),
            sent: 0,
            receives: 0,
            failures: 0,
            lonely: 0,
            suspect: false,
            state: match send.delay_ms {
                0 => State::Ready,
                delay => State::Hidden { until: now + delay },
            },
            good: None,
        };
        let id = letter.id.clone();
        // The only bounded queue holds at most three messages of this test's size.
        let line = self.line(queue);
        if bounded && line.spec.max_bytes > 0 && line.letters.len() >= 3 {
            return Err(No::Refused(Code::Full));
        }
        self.put_in(queue, letter);
        Ok(id)
    }

    /// True if no earlier message of its group is in the queue.
    pub(super) fn first_of_group(line: &Line, letter: &Letter) -> bool {
        line.spec.dead_letter
            || letter.group.is_empty()
            || !line
                .letters
                .iter()
                .any(|other| other.group == letter.group && other.seq < letter.seq)
    }

    pub(super) fn may_go(line: &Line, suspects: bool) -> Vec<Letter> {
        line.letters
            .iter()
            .filter(|letter| {
                letter.state == State::Ready
                    && letter.suspect == suspects
                    && Self::first_of_group(line, letter)
            })
            .cloned()
            .collect()
    }

    pub(super) fn receive(&mut self, receive: &Receive) -> Result<Answer, No> {
        self.session(receive.session)?;
        self.due();
        let holds = self.holds(receive.session).len();
        let suspects_anywhere = self
            .lines
            .values()
            .any(|line| !Self::may_go(line, true).is_empty());
        let now = self.now;
        let line = self.line(&receive.queue).clone();
        if receive.again {
            let mut before: Vec<&Letter> = line.letters.iter().collect();
            before.retain(|letter| {
                matches!(letter.state, State::InFlight { session, attempt, .. }
                    if (session, attempt) == (receive.session, receive.attempt))
            });
            before.sort_by_key(|letter| letter.seq);
            if !before.is_empty() {
                let ids = before.into_iter().map(|letter| letter.id.clone());
                return Ok(Answer::Received(ids.collect()));
            }
        }
        let suspects = Self::may_go(&line, true);
        let session = self.session(receive.session)?;
        let chosen: Vec<Letter> = if session.alone {
            Vec::new()
        } else if let Some(suspect) = suspects.first() {
            if holds == 0 {
                session.alone = true;
                session.yields_until = 0;
                vec![suspect.clone()]
            } else {
                session.yields_until = now + YIELD_MS;
                Vec::new()
            }
        } else if suspects_anywhere && now < session.yields_until {
            Vec::new()
        } else {
            let max = receive.max.clamp(1, 100) as usize;
            let mut ready = Self::may_go(&line, false);
            if line.spec.fair {
                self.in_turn(receive, ready, max)
            } else {
                ready.truncate(max);
                ready
            }
        };
        let visibility = match receive.visibility_ms {
            0 => line.spec.visibility_ms,
            own => own,
        };
        for chosen in &chosen {
            let letter = self.letter(&receive.queue, &chosen.id);
            letter.state = State::InFlight {
                session: receive.session,
                attempt: receive.attempt,
                until: now + visibility,
            };
            letter.receives += 1;
            letter.good = None; // the harness sets it when the message is handed out
        }
        Ok(Answer::Received(
            chosen.into_iter().map(|letter| letter.id).collect(),
        ))
    }

    /// Round robin over the fairness keys, starting after the one served last, with at most as many of each as the
    /// session may hold.
    fn in_turn(&mut self, receive: &Receive, mut ready: Vec<Letter>, max: usize) -> Vec<Letter> {
        let queue = receive.queue.as_str();
        let held = self.line(queue).letters.clone();
        let held = held.into_iter().filter(|letter| {
            matches!(letter.state, State::InFlight { session, .. } if session == receive.session)
        });
        let mut held: Vec<String> = held.map(|letter| letter.turn).collect();
        let mut chosen = Vec::new();
        loop {
            ready.retain(|letter| {
                let of_turn = held.iter().filter(|turn| **turn == letter.turn).count();
                receive.turn_max == 0 || of_turn < receive.turn_max as usize
            });
            if chosen.len() == max || ready.is_empty() {
                return chosen;
            }
            let turns: BTreeSet<String> = ready.iter().map(|letter| letter.turn.clone()).collect();
            let last = self.line(queue).last_turn.clone();
            let next = turns
                .iter()
                .find(|turn| **turn > last)
                .or(turns.first())
                .unwrap()
                .clone();
            let at = ready.iter().position(|letter| letter.turn == next).unwrap();
            chosen.push(ready.remove(at));
            held.push(next.clone());
            self.line(queue).last_turn = next;
        }
    }

    pub(super) fn extend(&mut self, extend: &Extend) -> Result<Answer, No> {
        let now = self.now;
        let letter = self.held(extend.receipt.as_ref().unwrap())?;
        match &mut letter.state {
            State::InFlight { until, .. } => *until = now + extend.visibility_ms.max(1),
            _ => return Err(No::Refused(Code::StaleReceipt)),
        }
        Ok(Answer::Done(Vec::new()))
    }

    pub(super) fn give_back(&mut self, give_back: &GiveBack) -> Result<Answer, No> {
        let receipt = give_back.receipt.as_ref().unwrap();
        let now = self.now;
        let letter = self.held(receipt)?;
        let was_held = matches!(letter.state, State::InFlight { .. });
        letter.good = None;
        letter.suspect = false;
        letter.lonely = 0;
        letter.state = match give_back.delay_ms {
            0 => State::Ready,
            delay => State::Hidden { until: now + delay },
        };
        let id = letter.id.clone();
        self.let_go();
        // A receive counts at most one failure: a visibility timeout has counted it already.
        if give_back.failed && was_held {
            self.failed(&receipt.queue, &id);
        }
        self.change_all(&give_back.changes)?;
        Ok(Answer::Done(Vec::new()))
    }

    /// Messages that are not in flight, up to a sequence number; false if more are left.
    pub(super) fn loose(
        &mut self,
        queue: &str,
        upto: u64,
        max: u32,
        only: &str,
    ) -> (Vec<String>, bool) {
        let all: Vec<String> = self
            .line(queue)
            .letters
            .iter()
            .filter(|letter| {
                letter.seq <= upto
                    && !matches!(letter.state, State::InFlight { .. })
                    && (only.is_empty() || letter.id == only)
            })
            .map(|letter| letter.id.clone())
            .collect();
        let max = max.clamp(1, 500) as usize;
        (all.iter().take(max).cloned().collect(), all.len() <= max)
    }

    pub(super) fn requeue(&mut self, requeue: &Requeue) -> Result<Answer, No> {
        if requeue.from == requeue.to {
            return Err(No::Refused(Code::Invalid));
        }
        let upto = if requeue.upto == 0 {
            u64::MAX
        } else {
            requeue.upto
        };
        let (ids, finished) = self.loose(&requeue.from, upto, requeue.max, &requeue.message_id);
        for id in &ids {
            let mut letter = self.take_out(&requeue.from, id);
            (letter.receives, letter.failures, letter.lonely) = (0, 0, 0);
            letter.state = State::Ready;
            self.line(&requeue.from).fates.moved.push(id.clone());
            self.line(&requeue.to).fates.accepted += 1;
            self.put_in(&requeue.to, letter);
        }
        Ok(Answer::Moved(ids.len() as u32, finished))
    }
}
