//! The way in: a seed, a protocol, and what came of it.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checks::Violation;
use crate::cluster::Cluster;
use crate::cuts::{Cuts, PlanFile};
use crate::faults::Plan;
use crate::oracle::Simulated;
use crate::picture::Picture;
use crate::report::{Failed, Report};
use crate::trace::{Keep, Trace};

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
    pub(crate) cuts: Cuts,
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
    /// The run which a plan file names, under whatever protocol.
    #[must_use]
    pub fn planned(file: &PlanFile) -> Simulation {
        let PlanFile { seed, replicas, canary, ref cuts, .. } = *file;
        Simulation { replicas, canary, cuts: cuts.clone(), ..Simulation::new(seed) }
    }

    /// The run of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Simulation {
        Simulation {
            seed,
            replicas: None,
            canary: None,
            cuts: Cuts::default(),
            protocol: PhantomData,
        }
    }
}

impl<P> Simulation<P> {
    /// Under this protocol.
    #[must_use]
    pub fn protocol<Q: Simulated>(self) -> Simulation<Q> {
        let Simulation { seed, replicas, canary, cuts, .. } = self;
        Simulation { seed, replicas, canary, cuts, protocol: PhantomData }
    }

    /// With so many replicas, from 1 on; otherwise the seed decides.
    #[must_use]
    pub fn replicas(self, replicas: usize) -> Simulation<P> {
        Simulation { replicas: Some(replicas.max(1)), ..self }
    }

    /// With a shell that is broken.
    #[must_use]
    pub fn canary(self, canary: Canary) -> Simulation<P> {
        Simulation { canary: Some(canary), ..self }
    }
}

/// How many of the last events a failed run shows.
const LAST_EVENTS: usize = 60;

impl<P: Simulated> Simulation<P> {
    /// Runs it.
    ///
    /// # Errors
    /// The first property that does not hold. An assertion that fails inside a replica is one.
    pub fn run(&self) -> Result<Report, Box<Failed>> {
        // Text is dear and a failed run can be had again, event by event: so only then.
        self.run_once(Trace::new(Keep::Nothing))
            .0
            .or_else(|_| self.run_once(Trace::new(Keep::Last(LAST_EVENTS))).0)
    }

    /// Runs it and prints each event as it happens.
    ///
    /// # Errors
    /// As with [`run`](Simulation::run).
    pub fn run_aloud(&self) -> Result<Report, Box<Failed>> {
        self.run_once(Trace::new(Keep::Print)).0
    }

    /// Runs it and draws it. The run is the same as ever.
    pub fn draw(&self) -> (Result<Report, Box<Failed>>, Picture) {
        let (result, picture) = self.run_once(Trace::new(Keep::Last(LAST_EVENTS)).drawn());
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
        PlanFile { protocol: P::NAME.to_owned(), seed, replicas, canary, cuts: cuts.clone() }
    }

    pub(crate) fn drawn(&self) -> Plan {
        let mut plan = Plan::draw(self.seed, self.replicas);
        self.cuts.apply(&mut plan);
        plan
    }

    /// Runs it, and keeps no text.
    pub(crate) fn run_quietly(&self) -> Result<Report, Box<Failed>> {
        self.run_once(Trace::new(Keep::Nothing)).0
    }

    fn run_once(&self, trace: Trace) -> (Result<Report, Box<Failed>>, Option<Picture>) {
        let plan = self.drawn();
        let mut cluster = Cluster::<P>::new(self.seed, plan, self.canary, trace);
        let ran = catch_unwind(AssertUnwindSafe(|| cluster.run()));
        let result = match ran {
            Ok(Ok(())) => Ok(cluster.report(self.seed)),
            Ok(Err(violation)) => Err(violation),
            Err(panic) => Err(Violation {
                property: "assertions hold",
                stated_in: "the code itself",
                details: panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_default(),
            }),
        };
        let (seed, time, faults) = (self.seed, cluster.now(), cluster.faults());
        let replicas = cluster.plan.nodes;
        let plan = format!("{:#?}", cluster.plan);
        let (last_events, recorder) = cluster.trace.into_parts();
        let picture = recorder.map(|recorder| {
            let run = (P::NAME, seed, replicas);
            recorder.finish(run, time, plan, result.as_ref().err())
        });
        let failed = |violation| Box::new(Failed { seed, time, faults, violation, last_events });
        (result.map_err(failed), picture)
    }
}
