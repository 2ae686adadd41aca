//! Jobs for Python: run by workers to their end, whatever their rules do to the workers.

use std::collections::HashMap;

use super::alone;
use super::evaluation::Evaluation;
use super::pool::Pool;
use super::progress::Progress;
use super::running::Running;
use super::settings::EngineFault;
use super::strikes::Strikes;
use super::wire::EventResults;
use super::worker::{Ended, Job, Lost, Store};
use crate::native::{Native, Site};
use crate::verdict::Outcome;

/// How many workers, or templates with all of them, may be lost in one batch to no known rule before its rules are run one at a time.
const UNEXPLAINED: u32 = 2;

/// Runs jobs to their end, whatever their rules do to the workers.
pub(super) async fn in_python(
    engine: &Running,
    pool: &Pool,
    mut jobs: Vec<Job>,
    now: f64,
    store: &mut Store<'_>,
    strikes: &Strikes,
) -> Result<Evaluation, EngineFault> {
    let mut progress = Progress::default();
    // Workers lost to no known rule, and templates.
    let mut unexplained = 0;
    // Jobs up to here are run with a look after each rule.
    let mut careful: usize = 0;
    loop {
        if !progress.advance(&mut jobs, strikes) {
            return Ok(progress.evaluation);
        }
        // Jobs may have lost their last rule; the worker skips them.
        let mut lease = pool.lease().await?;
        let begun = progress.done;
        let take = |results: EventResults| progress.take(&jobs, begun, results, strikes);
        let carefully = u32::try_from(careful.saturating_sub(begun)).unwrap_or(u32::MAX);
        let batch = lease
            .worker()
            .batch(&jobs[begun..], carefully, now, store, take);
        let ended = batch.await;
        match ended {
            Ok(micros) => {
                progress.evaluation.statistics.python_micros += micros;
                lease.give_back();
                return Ok(progress.evaluation);
            }
            Err(Ended::Cut) => {}
            Err(Ended::Spoilt { up_to, reason }) => {
                drop(lease);
                progress.evaluation.statistics.workers_lost += 1;
                // A rule that does it only now and then may have done nothing when it was looked at.
                let nothing_found = careful > begun;
                careful = begun + up_to as usize + 1;
                tracing::info!(reason, "a rule is looked for");
                unexplained += u32::from(nothing_found);
            }
            Err(Ended::Fault(fault)) => return Err(fault),
            Err(Ended::Lost(loss)) => {
                let generation = lease.worker().generation();
                drop(lease);
                progress.evaluation.statistics.workers_lost += 1;
                // All workers end with their template, whatever they are at.
                let with_all = loss.how == Lost::Died && pool.template_ended(generation).await;
                if !with_all
                    && progress.blame(&mut jobs, begun, &loss, strikes, engine.settings.rule_time)
                {
                    unexplained = 0;
                } else {
                    tracing::warn!(reason = loss.reason, "a worker was lost to no known rule");
                    unexplained += 1;
                }
            }
        }
        if unexplained >= UNEXPLAINED {
            let rest = jobs.split_off(progress.done);
            let alone = alone::evaluate(engine, pool, &rest, now, store, strikes).await?;
            progress.evaluation.append(alone);
            return Ok(progress.evaluation);
        }
    }
}

/// Keeps what Python said of pairs that raised, for those like them.
pub(super) fn learn(native: &Native, mut raising: HashMap<(usize, u32), Site>, said: &Evaluation) {
    for verdict in &said.verdicts {
        let Ok(rule) = u32::try_from(verdict.detection) else {
            continue;
        };
        if let Outcome::Failed(error) = &verdict.outcome
            && let Some(site) = raising.remove(&(verdict.event, rule))
        {
            native.learn(rule, site, error);
        }
    }
}
