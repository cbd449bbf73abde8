//! What stands for the apply thread and the helpers. They do what the real ones do, at their own
//! pace, and report late.

use std::error::Error;
use std::time::Duration;

use quorate_core::{
    Effect, Entry, Event, FetchNext, Generation, Outcome, Protocol, RequestId, SnapshotMeta,
};
use quorate_storage::{Scrubbed, StorageError};

use super::{Cluster, Happening};
use crate::checks::{Verdict, gave_up};
use crate::clients::Reply;
use crate::clock::Time;
use crate::marks::{Mark, sometimes};
use crate::oracle::Simulated;
use crate::process::{ApplyJob, Asked, HelperJob, Local, Process};
use crate::subject::{Batch, View};
use crate::value::Value;

impl<P: Simulated> Cluster<P> {
    /// How long something takes on a node.
    pub(super) fn takes(&mut self, node: usize, (from, to): (Duration, Duration)) -> Duration {
        self.thread_rng.duration(from, to) * self.nodes[node].sluggishness.times(self.agenda.now())
    }

    /// When a report that is made now reaches the loop.
    pub(super) fn report_time(&mut self) -> Time {
        let (from, to) = self.plan.completions.report;
        self.agenda.now() + self.thread_rng.duration(from, to)
    }
}

/// The apply thread.
impl<P: Simulated> Cluster<P> {
    pub(super) fn queue_apply(&mut self, node: usize, job: ApplyJob) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.apply_queue.push_back(job);
        self.apply_next(node);
    }

    fn apply_next(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        // As the real one does: who has asked anew, or elsewhere, does not wait for this answer.
        while !process.applying
            && let Some(ApplyJob::Answer(request)) = process.apply_queue.front()
            && let Some(Asked { client, op, attempt, .. }) = process.asked.get(request)
            && !self.clients.is_current(*client, *op, *attempt)
        {
            self.marks.note(Mark::AnswerAbandoned);
            process.asked.remove(request);
            process.apply_queue.pop_front();
        }
        if !process.applying && !process.apply_queue.is_empty() {
            process.applying = true;
            let delay = self.takes(node, self.plan.completions.apply);
            self.plan_local(node, delay, Local::Applied);
        }
    }

    /// The thread is done with the job at the head of its queue.
    pub(super) fn on_applied(&mut self, node: usize) -> Verdict {
        let now = self.clock(node).monotonic;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.applying = false;
        let job = process.apply_queue.pop_front().expect("it had a job");
        match job {
            ApplyJob::Apply(generation, entries) => {
                let known = self.checks.last_change();
                let fresh = entries.iter().filter(|entry| entry.index() > known);
                let fresh: Vec<Entry> = fresh.cloned().collect();
                self.checks.executes(node, &entries)?;
                process.moved = now;
                let batch = process.applier.apply(generation, entries);
                let Batch { applied, responses, changes } =
                    batch.map_err(|why| gave_up(node, &why))?;
                for change in &changes {
                    let verdict = self.checks.changed(node, change, &fresh);
                    self.draw_change(node, change);
                    verdict?;
                }
                for (request, outcome) in responses {
                    self.reply(node, request, reply_of(outcome))?;
                }
                self.report_applied(node, Event::Applied(applied));
            }
            ApplyJob::Restore(generation, meta) => self.restore(node, generation, &meta)?,
            ApplyJob::TakeSnapshot => {
                let view = process.applier.view();
                self.help(node, HelperJob::WriteSnapshot(view));
            }
            ApplyJob::Answer(request) => self.answer(node, request)?,
        }
        self.apply_next(node);
        Ok(())
    }

    fn restore(&mut self, node: usize, generation: Generation, meta: &SnapshotMeta) -> Verdict {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let mut content = match process.snapshots.open(&meta.id()) {
            Ok(content) => content,
            Err(_) if process.newest_restore > generation => {
                // Another one was installed since, so this one may be gone: its turn will come.
                self.marks.note(Mark::RestorationOvertaken);
                return Ok(());
            }
            Err(why) => return self.stop_over_snapshot(node, &why),
        };
        let deadline = match process.applier.restore(generation, meta, &mut content) {
            Ok(deadline) => deadline,
            Err(why) => return self.stop_over_snapshot(node, &why),
        };
        let now = self.clock(node).monotonic;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.moved = now;
        let (index, state) = (process.applier.applied(), process.applier.state());
        self.checks.restored(node, index, &state)?;
        self.report_applied(node, Event::Restored { generation, deadline });
        Ok(())
    }

    fn answer(&mut self, node: usize, request: RequestId) -> Verdict {
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let Some(asked) = process.asked.get(&request) else { return Ok(()) };
        let query = asked.query.as_ref().expect("whoever reads has a query");
        let observed = process.query(self.clock(node).monotonic, query);
        self.reply_to_read(node, request, observed)
    }

    fn report_applied(&mut self, node: usize, event: Event<P::Message>) {
        let time = self.report_time();
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.last_applied = time.max(process.last_applied);
        let what = Local::Event(event);
        self.agenda.at(process.last_applied, Happening::Local { node, life, what });
    }
}

fn reply_of(outcome: Outcome<Value>) -> Reply {
    match outcome {
        Outcome::Response(done) => Reply::Done(done),
        Outcome::Registered(session) => Reply::Registered(session),
        Outcome::NoSession => Reply::NoSession,
        Outcome::WindowExceeded => Reply::WindowExceeded,
        Outcome::Acknowledged => Reply::Acknowledged,
        Outcome::ResponseDropped => Reply::ResponseDropped,
    }
}

/// The helpers.
impl<P: Simulated> Cluster<P> {
    pub(super) fn help(&mut self, node: usize, job: HelperJob<P::Message>) {
        let delay = self.takes(node, self.plan.completions.helper);
        let Some(process) = &mut self.nodes[node].process else { return };
        process.last_help += 1;
        let number = process.last_help;
        process.helping.insert(number, job);
        self.plan_local(node, delay, Local::Helped(number));
    }

    /// A helper is done with a job, which it does at this moment.
    pub(super) fn on_helped(&mut self, node: usize, number: u64) -> Verdict {
        let it = &mut self.nodes[node];
        let Some(process) = &mut it.process else { return Ok(()) };
        let job = process.helping.remove(&number).expect("a job of a helper");
        let instead = job.instead();
        let is_begun = matches!(&job, HelperJob::Files(effect) if matches!(**effect, Effect::BeginFetch { .. }));
        let events = match process.do_job(job) {
            Ok(events) => events,
            Err(why) => match instead {
                Some(event) if it.disk.is_full() || it.disk.is_faulty() => {
                    self.marks.note(Mark::DiskRefused);
                    vec![event]
                }
                _ => return self.stop(node, &why),
            },
        };
        for event in events {
            let is_resumed =
                matches!(event, Event::FetchProgress { next: FetchNext::Chunk(1..), .. });
            sometimes!(self.marks, Mark::SnapshotResumed, is_begun && is_resumed);
            self.note_help(&event);
            let time = self.report_time();
            let delay = Duration::from_micros(time.0 - self.now().0);
            self.plan_local(node, delay, Local::Event(event));
        }
        Ok(())
    }

    /// The jobs that are underway when the process dies are done in part, with a disk that stops
    /// somewhere.
    pub(super) fn do_jobs_in_part(&mut self, node: usize) {
        const MOST_CHANGES: u64 = 12;
        let it = &mut self.nodes[node];
        let Some(process) = &mut it.process else { return };
        for job in std::mem::take(&mut process.helping).into_values() {
            it.disk.set_power(Some(self.disk_rng.below(MOST_CHANGES)));
            // Whoever would be told of it is dead.
            let _ = process.do_job(job);
        }
        it.disk.set_power(Some(0));
    }

    fn note_help(&mut self, event: &Event<P::Message>) {
        match event {
            Event::SnapshotBuilt(Some(_)) => self.marks.note(Mark::SnapshotBuilt),
            Event::Scrubbed { gaps, .. } if !gaps.is_empty() => {
                self.marks.note(Mark::DamageFoundByScrub);
            }
            Event::Damaged(_) => self.marks.note(Mark::DamageFoundByReading),
            Event::EntriesRead { .. } => self.marks.note(Mark::OldEntriesRead),
            Event::ChunkRead { bytes: None, .. } => self.marks.note(Mark::SnapshotChunkGone),
            Event::FetchProgress { next: FetchNext::Complete, .. } => {
                self.marks.note(Mark::SnapshotFetched);
            }
            Event::FetchProgress { next: FetchNext::Failed, .. } => {
                self.marks.note(Mark::SnapshotFetchFailed);
            }
            _ => {}
        }
    }
}

impl<M> HelperJob<M> {
    /// What the loop is told if the disk fails, or has no room for what is to be written.
    fn instead(&self) -> Option<Event<M>> {
        let failed = |snapshot| Event::FetchProgress { snapshot, next: FetchNext::Failed };
        match self {
            HelperJob::WriteSnapshot(_) => Some(Event::SnapshotBuilt(None)),
            HelperJob::Files(effect) => match &**effect {
                Effect::BeginFetch { snapshot } => Some(failed(snapshot.id())),
                Effect::WriteChunk { snapshot, .. } => Some(failed(*snapshot)),
                Effect::ReadChunk { to, snapshot, chunk } => Some(Event::ChunkRead {
                    to: *to,
                    snapshot: *snapshot,
                    chunk: *chunk,
                    bytes: None,
                }),
                _ => None,
            },
            HelperJob::Tidy => None,
        }
    }
}

impl<P: Protocol> Process<P> {
    /// Does the job of a helper, and says what the loop is told of it.
    fn do_job(&self, job: HelperJob<P::Message>) -> Result<Vec<Event<P::Message>>, Box<dyn Error>> {
        Ok(match job {
            HelperJob::WriteSnapshot(view) => {
                vec![Event::SnapshotBuilt(Some(self.build(&*view)?))]
            }
            HelperJob::Files(effect) => self.access_files(*effect)?,
            HelperJob::Tidy => {
                // What is left is tried again with the next.
                let _ = self.snapshots.tidy();
                Vec::new()
            }
        })
    }

    fn build(&self, view: &dyn View) -> Result<SnapshotMeta, Box<dyn Error>> {
        let mut builder = self.snapshots.builder()?;
        view.write(&mut builder)?;
        let (membership, time) = (view.membership().clone(), view.time());
        Ok(builder.finish(view.last(), view.digest(), membership, time)?)
    }

    fn access_files(
        &self,
        effect: Effect<P::Message>,
    ) -> Result<Vec<Event<P::Message>>, Box<dyn Error>> {
        Ok(vec![match effect {
            Effect::ReadEntries { reader, from, max_bytes } => {
                let entries = match self.reader.read_entries(from, max_bytes) {
                    Ok(entries) => entries,
                    Err(StorageError::Compacted { .. }) => Vec::new(),
                    Err(why) => {
                        let gaps = self.reader.scrub(from, max_bytes)?.gaps;
                        if gaps.is_empty() {
                            return Err(why.into());
                        }
                        let nothing = Event::EntriesRead { reader, from, entries: Vec::new() };
                        return Ok(vec![Event::Damaged(gaps), nothing]);
                    }
                };
                Event::EntriesRead { reader, from, entries }
            }
            Effect::Scrub { from, max_bytes } => {
                let Scrubbed { next, gaps } = self.reader.scrub(from, max_bytes)?;
                Event::Scrubbed { next, gaps }
            }
            Effect::ReadChunk { to, snapshot, chunk } => {
                let bytes = self.snapshots.read_chunk(&snapshot, chunk)?;
                Event::ChunkRead { to, snapshot, chunk, bytes }
            }
            Effect::BeginFetch { snapshot } => {
                let next = self.snapshots.begin_fetch(&snapshot)?;
                Event::FetchProgress { snapshot: snapshot.id(), next }
            }
            Effect::WriteChunk { snapshot, chunk, bytes } => {
                let next = self.snapshots.write_chunk(&snapshot, chunk, &bytes)?;
                Event::FetchProgress { snapshot, next }
            }
            other => unreachable!("not an effect on files: {other:?}"),
        }])
    }
}
