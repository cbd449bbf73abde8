//! The way in: a seed, a protocol, and what came of it.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::checks::assertion_failed;
use crate::cluster::Cluster;
use crate::cuts::{Cuts, PlanFile};
use crate::faults::Plan;
use crate::oracle::Simulated;
use crate::picture::Picture;
use crate::registers::Writing;
use crate::report::{Failed, Report};
use crate::subject::Subject;
use crate::trace::{Keep, Trace};
use crate::workload::Workload;

/// One run of a simulated cluster: a seed decides everything about it.
///
/// ```
/// use quorate_raft::Raft;
/// use quorate_sim::Simulation;
///
/// let report = Simulation::new(1).protocol::<Raft>().replicas(3).run()?;
/// assert!(report.commits > 0);
/// # Ok::<(), Box<quorate_sim::Failed>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Simulation<P = ()> {
    seed: u64,
    replicas: Option<usize>,
    canary: Option<Canary>,
    is_recorded: bool,
    pub(crate) cuts: Cuts,
    /// Registers, if nothing else is named.
    workload: Option<Arc<dyn Subject>>,
    protocol: PhantomData<fn() -> P>,
}

/// A shell broken on purpose. A simulator that does not catch it would not catch the real thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Canary {
    /// Writes are called saved before they are on disk.
    AcknowledgeBeforeSync,
    /// What the protocol swore is not there after a restart.
    ForgetPledge,
    /// Reads are answered from the state at hand, whoever leads.
    ReadLocally,
}

impl Canary {
    const ALL: [Canary; 3] =
        [Canary::AcknowledgeBeforeSync, Canary::ForgetPledge, Canary::ReadLocally];

    pub(crate) fn named(name: &str) -> Option<Canary> {
        Canary::ALL.into_iter().find(|canary| format!("{canary:?}") == name)
    }
}

impl Simulation {
    /// The run which a plan file names, under whatever protocol, and of whatever workload.
    #[must_use]
    pub fn planned(file: &PlanFile) -> Simulation {
        Simulation::new(file.seed).like(file)
    }

    /// The run of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Simulation {
        Simulation {
            seed,
            replicas: None,
            canary: None,
            is_recorded: false,
            cuts: Cuts::default(),
            workload: None,
            protocol: PhantomData,
        }
    }
}

impl<P> Simulation<P> {
    /// Under this protocol.
    #[must_use]
    pub fn protocol<Q: Simulated>(self) -> Simulation<Q> {
        let Simulation { seed, replicas, canary, is_recorded, cuts, workload, .. } = self;
        Simulation { seed, replicas, canary, is_recorded, cuts, workload, protocol: PhantomData }
    }

    /// What decides everything.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// True if it was not said how many replicas it has.
    pub(crate) fn may_have_any_size(&self) -> bool {
        self.replicas.is_none()
    }

    /// The same with another seed.
    pub(crate) fn with_seed(&self, seed: u64) -> Simulation<P> {
        let Simulation { replicas, canary, is_recorded, .. } = *self;
        let (cuts, workload) = (self.cuts.clone(), self.workload.clone());
        Simulation { seed, replicas, canary, is_recorded, cuts, workload, protocol: PhantomData }
    }

    /// The same protocol and workload, and all else as a plan file says.
    pub(crate) fn like(&self, file: &PlanFile) -> Simulation<P> {
        let PlanFile { seed, replicas, canary, ref cuts, .. } = *file;
        Simulation { replicas, canary, cuts: cuts.clone(), ..self.with_seed(seed) }
    }

    /// With so many replicas, from 1 on; otherwise the seed decides.
    #[must_use]
    pub fn replicas(self, replicas: usize) -> Simulation<P> {
        Simulation { replicas: Some(replicas.max(1)), ..self }
    }

    /// With this state machine, and clients who want this from it.
    #[must_use]
    pub fn workload(self, workload: impl Workload) -> Simulation<P> {
        Simulation { workload: Some(Arc::new(workload)), ..self }
    }

    /// With a shell that is broken.
    #[must_use]
    pub fn canary(self, canary: Canary) -> Simulation<P> {
        Simulation { canary: Some(canary), ..self }
    }

    /// Records what each replica is told in each of its lives, and has another one do it once more
    /// when that life is over: it must come to the same, byte for byte. The run is the same as ever,
    /// and takes about twice as long. Runs of seeds that fifty divides are recorded anyway.
    #[must_use]
    pub fn recorded(self) -> Simulation<P> {
        Simulation { is_recorded: true, ..self }
    }
}

/// Of so many seeds, one gives a run that is recorded whether or not that is asked for.
const RECORDED_IN: u64 = 50;

/// How many of the last events a failed run shows.
const LAST_EVENTS: usize = 60;

impl<P: Simulated> Simulation<P> {
    /// Runs it.
    ///
    /// # Errors
    /// The first property that does not hold. An assertion that fails inside a replica is one.
    pub fn run(&self) -> Result<Report, Box<Failed>> {
        // Text is dear and a failed run can be had again, event by event: so only then.
        self.run_once(Keep::Nothing, false)
            .0
            .or_else(|_| self.run_once(Keep::Last(LAST_EVENTS), false).0)
    }

    /// Runs it and prints each event as it happens.
    ///
    /// # Errors
    /// As with [`run`](Simulation::run).
    pub fn run_aloud(&self) -> Result<Report, Box<Failed>> {
        self.run_once(Keep::Print, false).0
    }

    /// Runs it and draws it. The run is the same as ever, and what comes of it, too: see
    /// [`run`](Simulation::run).
    pub fn draw(&self) -> (Result<Report, Box<Failed>>, Picture) {
        let (result, picture) = self.run_once(Keep::Last(LAST_EVENTS), true);
        (result, picture.expect("it was drawn"))
    }

    /// What the seed has in store, for people to read.
    #[must_use]
    pub fn plan(&self) -> String {
        format!("{:#?}", self.drawn())
    }

    /// All that this run is, to be written to a file.
    #[must_use]
    pub fn plan_file(&self) -> PlanFile {
        let &Simulation { seed, replicas, canary, ref cuts, .. } = self;
        let workload = self.workload.as_ref().map(|workload| workload.name().to_owned());
        let (protocol, cuts) = (P::NAME.to_owned(), cuts.clone());
        PlanFile { protocol, workload, seed, replicas, canary, cuts }
    }

    pub(crate) fn drawn(&self) -> Plan {
        let mut plan = Plan::draw(self.seed, self.replicas);
        self.cuts.apply(&mut plan);
        plan
    }

    /// Runs it, and keeps no text.
    pub(crate) fn run_quietly(&self) -> Result<Report, Box<Failed>> {
        self.run_once(Keep::Nothing, false).0
    }

    fn run_once(
        &self,
        keep: Keep,
        is_drawn: bool,
    ) -> (Result<Report, Box<Failed>>, Option<Picture>) {
        let plan = self.drawn();
        let registers = || Arc::new(Writing::of(&plan.load)) as Arc<dyn Subject>;
        let subject = self.workload.clone().unwrap_or_else(registers);
        let trace = Trace::new(keep);
        let trace = if is_drawn { trace.drawn(subject.clone()) } else { trace };
        let is_recorded = self.is_recorded || self.seed.is_multiple_of(RECORDED_IN);
        let mut cluster =
            Cluster::<P>::new(self.seed, plan, subject, self.canary, is_recorded, trace);
        let ran = catch_unwind(AssertUnwindSafe(|| cluster.run()));
        let result = match ran {
            Ok(Ok(())) => Ok(cluster.report(self.seed)),
            Ok(Err(violation)) => Err(violation),
            Err(panic) => {
                let words = panic.downcast_ref::<String>().map(String::as_str);
                let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(assertion_failed(words.unwrap_or_default().to_owned()))
            }
        };
        let (seed, time, strikes) = (self.seed, cluster.now(), cluster.strikes());
        let events = cluster.trace.events();
        let replicas = cluster.plan.nodes;
        let plan = format!("{:#?}", cluster.plan);
        let (last_events, recorder) = cluster.trace.into_parts();
        let picture = recorder.map(|recorder| {
            let (of, run) = ((P::NAME, P::words()), (seed, replicas));
            recorder.finish(of, run, time, plan, result.as_ref().err())
        });
        let failed =
            |violation| Box::new(Failed { seed, time, events, strikes, violation, last_events });
        (result.map_err(failed), picture)
    }
}
