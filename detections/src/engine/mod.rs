//! Runs a pack's detections over events.
//!
//! Python runs in worker processes forked from one template that has loaded the pack. An event goes to Python only for those rules that the
//! native engine does not decide. Whatever a rule does (raise, hang, exit, die, eat memory) becomes that pair's [`RuleError`], and the rest of the batch goes on; only a
//! failure of the engine itself is an [`EngineFault`], and then nothing of the call counts. How a rule is evaluated is known in here alone.

mod alone;
mod environment;
mod evaluate;
mod evaluation;
mod folder;
mod host;
mod in_python;
mod interpreter;
mod layer;
mod plan;
mod pool;
mod progress;
mod running;
mod settings;
mod shadow;
mod stored;
mod strikes;
mod template;
mod tested;
mod trial;
mod wire;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

pub use evaluation::{Difference, Effects, Evaluation, EventInput, Statistics, Verdict};
pub use interpreter::Interpreter;
pub use settings::{EngineFault, EngineSettings};
pub use template::is_of_an_engine;
pub use wire::{Decided, Explanation, Operand, Step};

use crate::key_value::{EmptyView, KeyValueView};
use crate::native::{Known, Native, NativeSettings, Told};
pub use crate::native::{Spent, Stages};
use crate::pack::{Detection, Pack, Test};
use crate::verdict::{RuleError, Tested};
use pool::Pool;
use running::{Running, Selection};
use worker::{Ended, Store};

/// A running engine for one version of a pack.
///
/// Dropping it kills its processes; [`Engine::stop`] ends them in order.
#[derive(Debug)]
pub struct Engine {
    version: String,
    running: Running,
    load: LoadReport,
}

/// What came of loading a pack's Python.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadReport {
    /// Version of the interpreter.
    pub python: String,
    /// The detections that were loaded or should have been, ascending by index.
    pub detections: Vec<LoadedDetection>,
    /// Globals that failed, by id.
    pub failed_globals: Vec<(String, RuleError)>,
    /// Data models that failed, by id.
    pub failed_data_models: Vec<(String, RuleError)>,
    /// What code of the pack can do on this node that it should not, a sentence each: the kernel has nothing that prevents it.
    pub unenforced: Vec<String>,
}

/// What a detection has cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Its place in the pack's detections.
    pub detection: usize,
    /// In Rust.
    pub spent: Spent,
    /// Why pairs were left to Python and how many.
    pub left_to_python: Vec<(String, u64)>,
}

impl Cost {
    /// How many pairs were left to Python.
    #[must_use]
    pub fn pairs_left(&self) -> u64 {
        self.left_to_python.iter().map(|(_, count)| count).sum()
    }
}

/// What came of loading one detection.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedDetection {
    /// Place in the pack's detections.
    pub index: usize,
    /// Functions that it defines.
    pub functions: Vec<String>,
    /// Why it did not load, if it did not.
    pub error: Option<RuleError>,
}

impl Engine {
    /// Starts Python, loads the pack and proves that a worker can be forked.
    ///
    /// A detection that fails to load is no fault: it is in [`Engine::load_report`], and each event of its log types gives its error.
    ///
    /// # Errors
    /// What is wrong with the node: no Python, no writable folder, a pack that does not load in time.
    pub async fn start(settings: EngineSettings, pack: &Pack) -> Result<Self, EngineFault> {
        let load_disabled = settings.load_disabled;
        Self::start_with(settings, pack, |_, detection| {
            load_disabled || (detection.enabled && detection.unevaluated.is_none())
        })
        .await
    }

    /// The same, of those detections alone that `wanted` takes, by their place in the pack.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn start_with(
        settings: EngineSettings,
        pack: &Pack,
        wanted: impl Fn(usize, &Detection) -> bool,
    ) -> Result<Self, EngineFault> {
        Self::start_in(Interpreter::start(settings).await?, pack, wanted).await
    }

    /// The same, in a Python that has been started before.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn start_in(
        interpreter: Interpreter,
        pack: &Pack,
        wanted: impl Fn(usize, &Detection) -> bool,
    ) -> Result<Self, EngineFault> {
        let settings = interpreter.settings.clone();
        let content = layer::content(pack, wanted);
        let (host, loaded, told) = host::Host::start(interpreter, content).await?;
        let native = match settings.native {
            true => Some(compiled(told, Known::of(pack), settings.clone()).await?),
            false => None,
        };
        let load = report(loaded);
        let broken = load
            .detections
            .iter()
            .filter_map(|loaded| Some((u32::try_from(loaded.index).ok()?, loaded.error.clone()?)))
            .collect();
        let mut rules: HashMap<String, Vec<u32>> = HashMap::new();
        for loaded in &load.detections {
            if let Some(detection) = pack.detections.get(loaded.index)
                && detection.looks_at_events()
                && let Ok(rule) = u32::try_from(loaded.index)
            {
                let log_types: BTreeSet<&String> = detection.log_types.iter().collect();
                for log_type in log_types {
                    rules.entry(log_type.clone()).or_default().push(rule);
                }
            }
        }
        let pool = Pool::new(host, settings.workers);
        pool.prove().await?;
        Ok(Self {
            version: pack.version.clone(),
            running: Running {
                settings,
                pool,
                selection: Arc::new(Selection {
                    rules,
                    broken,
                    native,
                }),
            },
            load,
        })
    }

    /// Makes the virtual environment that the settings ask for, if it is not there. It may take minutes, a start with it does not.
    ///
    /// # Errors
    /// [`EngineFault::Packages`], or there is no Python.
    pub async fn prepare(settings: &EngineSettings) -> Result<(), EngineFault> {
        environment::interpreter(settings).await.map(drop)
    }

    /// The pack's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What came of loading.
    #[must_use]
    pub fn load_report(&self) -> &LoadReport {
        &self.load
    }

    /// How many rules look at events of this log type.
    #[must_use]
    pub fn rules(&self, log_type: &str) -> usize {
        self.running.selection.rules(log_type).len()
    }

    /// What each detection has cost so far, the dearest first. Times are of the events that [`EngineSettings::profile_one_in`] takes.
    #[must_use]
    pub fn costs(&self) -> Vec<Cost> {
        let Some(native) = &self.running.selection.native else {
            return Vec::new();
        };
        let cost = |rule: u32| Cost {
            detection: rule as usize,
            spent: Spent::default(),
            left_to_python: Vec::new(),
        };
        let mut costs: BTreeMap<u32, Cost> = BTreeMap::new();
        for (rule, spent) in native.spent() {
            costs.entry(rule).or_insert_with(|| cost(rule)).spent = spent;
        }
        for ((rule, why), count) in native.left() {
            let of = costs.entry(rule).or_insert_with(|| cost(rule));
            of.left_to_python.push((why, count));
        }
        let mut costs: Vec<Cost> = costs.into_values().collect();
        costs.sort_by_key(|of| std::cmp::Reverse((of.spent.nanos, of.pairs_left())));
        costs
    }

    /// Where the time of those events went before Python had any part in it.
    #[must_use]
    pub fn stages(&self) -> Stages {
        let native = self.running.selection.native.as_ref();
        native.map(Native::stages).unwrap_or_default()
    }

    /// Of how many events one is timed for [`Engine::costs`] and [`Engine::stages`]; 0: none.
    #[must_use]
    pub fn profile_one_in(&self) -> u32 {
        self.running.settings.profile_one_in
    }

    /// Evaluates the rules of each event's log type. `now` is what rules and their stored state take for the present.
    ///
    /// May be called several times at once; the calls share the workers. Dropping the future abandons the work.
    ///
    /// # Errors
    /// Faults of the node. Nothing is to be kept of the call then; the same events may be given again.
    pub async fn evaluate(
        &self,
        events: &[EventInput],
        now: SystemTime,
        view: &dyn KeyValueView,
    ) -> Result<Evaluation, EngineFault> {
        evaluate::evaluate(&self.running, events, unix_seconds(now), view).await
    }

    /// Evaluates one rule both ways over events that may be made up, and says in [`Evaluation::differences`] where Rust and Python do not agree; the rule
    /// is left to Python then. Its Python runs apart from that of other evaluations, over a key-value store of its own, which is empty at first.
    ///
    /// # Errors
    /// Faults of the node.
    pub async fn both_ways(
        &self,
        detection: usize,
        events: &[EventInput],
        now: SystemTime,
    ) -> Result<Evaluation, EngineFault> {
        let rule = u32::try_from(detection).unwrap_or(u32::MAX);
        trial::evaluate(&self.running, rule, events, unix_seconds(now)).await
    }

    /// Whether a detection is evaluated in Rust, at least where that is the same.
    #[must_use]
    pub fn is_native(&self, detection: usize) -> bool {
        u32::try_from(detection).is_ok_and(|detection| self.running.is_native(detection))
    }

    /// Runs unit tests of detections, each one's in their order. The key-value store is empty for them. From the first one on that Rust does not evaluate, Python does.
    ///
    /// A test that ends its worker or passes its time has that as its error, and the others are run again without it.
    ///
    /// # Errors
    /// Faults of the node.
    pub async fn test(
        &self,
        detections: &[(usize, &[Test])],
        now: SystemTime,
    ) -> Result<Vec<Vec<Tested>>, EngineFault> {
        let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let detections = detections
            .iter()
            .map(|(detection, tests)| (place(*detection), *tests));
        let detections: Vec<_> = detections.collect();
        tested::run(&self.running, &detections, unix_seconds(now)).await
    }

    /// Runs tests of one detection both ways, each by itself, and gives how many of them Rust evaluated, and where the two do not agree; the detection is left to
    /// Python then. What a test expects does not matter.
    ///
    /// # Errors
    /// Faults of the node.
    pub async fn tests_both_ways(
        &self,
        detection: usize,
        tests: &[Test],
        now: SystemTime,
    ) -> Result<(u64, Vec<Difference>), EngineFault> {
        let index = u32::try_from(detection).unwrap_or(u32::MAX);
        tested::both_ways(&self.running, index, tests, unix_seconds(now)).await
    }

    /// Evaluates one detection over one event step by step, in Python: why it says what it says. The key-value store is empty for it.
    ///
    /// # Errors
    /// Faults of the node, and a detection that ends its worker or passes its time.
    pub async fn explain(
        &self,
        detection: usize,
        event: &EventInput,
        now: SystemTime,
    ) -> Result<Explanation, EngineFault> {
        let index = u32::try_from(detection).unwrap_or(u32::MAX);
        let mut lease = self.running.pool.lease().await?;
        let mut store = Store::new(&EmptyView, self.running.settings.rule_time);
        let worker = lease.worker();
        match worker
            .explain(index, event, unix_seconds(now), &mut store)
            .await
        {
            Ok((explanation, afterwards)) => {
                lease.leave(afterwards);
                Ok(explanation)
            }
            Err(Ended::Lost(loss)) => Ok(Explanation {
                verdict: None,
                error: Some(strikes::loss_error(&loss, self.running.settings.rule_time)),
                steps: Vec::new(),
                decided: None,
                printed: String::new(),
            }),
            Err(Ended::Cut | Ended::Spoilt { .. }) => Err(EngineFault::Stopped),
            Err(Ended::Fault(fault)) => Err(fault),
        }
    }

    /// Ends all processes in order and removes the engine's folder. Evaluations under way fail with [`EngineFault::Stopped`].
    pub async fn stop(&self) {
        self.running.pool.stop().await;
    }
}

/// What Python told, compiled. That takes a while, so it has a thread.
async fn compiled(
    told: bytes::Bytes,
    known: Known,
    settings: EngineSettings,
) -> Result<Native, EngineFault> {
    let fault = |reason| EngineFault::Native { reason };
    let compiled = tokio::task::spawn_blocking(move || {
        let settings = NativeSettings {
            python_only: &settings.python_only,
            shadow_one_in: settings.shadow_one_in,
            profile_one_in: settings.profile_one_in,
            remembers: settings.memory,
        };
        let read: Told = serde_json::from_slice(&told)?;
        drop(told);
        Ok::<_, serde_json::Error>(Native::new(&read, &known, &settings))
    });
    let compiled = compiled.await.map_err(|error| fault(error.to_string()))?;
    compiled.map_err(|error| fault(format!("what Python tells of the pack: {error}")))
}

fn report(loaded: wire::Loaded) -> LoadReport {
    let failed = |named: Vec<wire::LoadedNamed>| {
        named
            .into_iter()
            .filter_map(|named| Some((named.id, named.error?)))
            .collect()
    };
    let mut detections: Vec<LoadedDetection> = loaded
        .detections
        .into_iter()
        .map(|item| LoadedDetection {
            index: item.index as usize,
            functions: item.functions,
            error: item.error,
        })
        .collect();
    detections.sort_by_key(|detection| detection.index);
    LoadReport {
        python: loaded.python,
        detections,
        failed_globals: failed(loaded.globals),
        failed_data_models: failed(loaded.data_models),
        unenforced: loaded.unenforced,
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}
