//! Rules of a batch one at a time, with no other worker at work: when workers or the template keep ending and it is not known which rule does it.
//!
//! A rule can end the template where the kernel does not keep it from that, and can claim to be another one by writing into its worker's progress. Here
//! the host knows what was running: whatever ends was ended by the one rule that had been given out.

use std::collections::BTreeSet;

use super::evaluation::Evaluation;
use super::pool::Pool;
use super::progress::Progress;
use super::running::Running;
use super::settings::EngineFault;
use super::strikes::Strikes;
use super::wire::EventResults;
use super::worker::{Continue, Ended, Job, Loss, Lost, Store};

/// Runs jobs to their end, whatever their rules do.
///
/// # Errors
/// Faults of the node: workers end although no rule runs in them.
pub(super) async fn evaluate(
    engine: &Running,
    pool: &Pool,
    jobs: &[Job],
    now: f64,
    store: &mut Store<'_>,
    strikes: &Strikes,
) -> Result<Evaluation, EngineFault> {
    let rules: BTreeSet<u32> = jobs.iter().flat_map(|job| &job.rules).copied().collect();
    tracing::warn!(
        rules = rules.len(),
        events = jobs.len(),
        "workers keep ending: the rules are run one at a time"
    );
    let mut all = Evaluation::default();
    for rule in rules {
        let own = jobs.iter().filter(|job| job.rules.contains(&rule));
        let own = own.map(|job| Job {
            rules: vec![rule],
            ..job.clone()
        });
        let mut one = One {
            engine,
            pool,
            rule,
            jobs: own.collect(),
        };
        all.append(one.run(now, store, strikes).await?);
    }
    Ok(all)
}

/// One rule, and the events that are for it.
struct One<'a> {
    engine: &'a Running,
    pool: &'a Pool,
    rule: u32,
    jobs: Vec<Job>,
}

impl One<'_> {
    async fn run(
        &mut self,
        now: f64,
        store: &mut Store<'_>,
        strikes: &Strikes,
    ) -> Result<Evaluation, EngineFault> {
        let mut progress = Progress::default();
        while progress.advance(&mut self.jobs, strikes) {
            let mut lease = self.pool.lease_alone().await?;
            let begun = progress.done;
            let jobs = &self.jobs;
            let take = |results: EventResults| progress.take(jobs, begun, results, strikes);
            let batch = lease.worker().batch(&jobs[begun..], 0, now, store, take);
            let loss = match batch.await {
                Ok(micros) => {
                    progress.evaluation.statistics.python_micros += micros;
                    lease.give_back();
                    break;
                }
                Err(Ended::Cut) => continue,
                Err(Ended::Fault(fault)) => return Err(fault),
                Err(Ended::Spoilt { up_to, reason }) => Loss {
                    at: Some(up_to),
                    rule: None,
                    how: Lost::Spoilt,
                    reason,
                },
                Err(Ended::Lost(loss)) => loss,
            };
            drop(lease);
            progress.evaluation.statistics.workers_lost += 1;
            if loss.at.is_none() {
                self.prove_node(now, store).await?;
            }
            // What the worker noted may be made up, the rule may not: it was the only one. Without a place among the open ones, it is the first of them.
            let rule = Some(self.rule);
            let rule_time = self.engine.settings.rule_time;
            let first = u32::try_from(progress.done - begun).unwrap_or(0);
            for at in [loss.at.unwrap_or(first), first] {
                let loss = Loss {
                    at: Some(at),
                    rule,
                    how: loss.how,
                    reason: loss.reason.clone(),
                };
                if progress.blame(&mut self.jobs, begun, &loss, strikes, rule_time) {
                    break;
                }
            }
        }
        Ok(progress.evaluation)
    }

    /// A worker that is given nothing does not end: if it does, it is no rule's doing.
    async fn prove_node(&self, now: f64, store: &mut Store<'_>) -> Result<(), EngineFault> {
        let mut lease = self.pool.lease_alone().await?;
        let nothing = lease.worker().batch(&[], 0, now, store, |_| Continue::Yes);
        match nothing.await {
            Ok(_) => {
                lease.give_back();
                Ok(())
            }
            Err(Ended::Fault(fault)) => Err(fault),
            Err(Ended::Lost(loss)) => Err(EngineFault::WorkersEnd {
                count: 1,
                reason: loss.reason,
            }),
            Err(Ended::Cut | Ended::Spoilt { .. }) => Ok(()),
        }
    }
}
