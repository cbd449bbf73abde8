//! What stands for the threads beside the loop: storage, apply, helpers. They do what the real
//! ones do, at their own pace, and report late.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    Digest, Effect, Event, FetchNext, Outcome, Protocol, RequestId, SnapshotMeta, SnapshotView,
    WriteSeq,
};

use super::{Cluster, Happening, gave_up};
use crate::checks::Verdict;
use crate::clock::Time;
use crate::machine::{Look, Registers};
use crate::process::{ApplyJob, HelperJob, Local};
use crate::simulation::Canary;
use crate::workload::Reply;

/// The storage thread.
impl<P: Protocol> Cluster<P> {
    /// Takes everything that waits as one group, unless a group is being written.
    pub(super) fn write_next_group(&mut self, node: usize) {
        let disk = self.plan.disk;
        let access = self.disk_rng.duration(disk.access.0, disk.access.1);
        let sync = self.disk_rng.duration(disk.sync.0, disk.sync.1);
        let it = &mut self.nodes[node];
        let Some(process) = &mut it.process else { return };
        if !process.group.is_empty() || process.waiting.is_empty() {
            return;
        }
        process.group.extend(process.waiting.drain(..));
        let delay = (access + sync) * it.slowness;
        self.plan_local(node, delay, Local::Synced);
    }

    /// The group is on disk.
    pub(super) fn on_synced(&mut self, node: usize) -> Verdict {
        let it = &mut self.nodes[node];
        let Some(process) = &mut it.process else { return Ok(()) };
        let group = std::mem::take(&mut process.group);
        for (_, write) in &group {
            it.store.save(write);
        }
        for (seq, _) in group {
            self.checks.synced(node, seq)?;
            if self.canary != Some(Canary::AcknowledgeBeforeSync) {
                self.report_saved(node, seq);
            }
        }
        self.write_next_group(node);
        Ok(())
    }

    pub(super) fn report_saved(&mut self, node: usize, seq: WriteSeq) {
        let time = self.report_time();
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.last_saved = time.max(process.last_saved);
        let what = Local::Event(Event::Saved(seq));
        self.agenda.at(process.last_saved, Happening::Local { node, life, what });
    }

    /// When a report that is made now reaches the loop.
    fn report_time(&mut self) -> Time {
        let (from, to) = self.plan.completions.report;
        self.agenda.now() + self.thread_rng.duration(from, to)
    }
}

/// The apply thread.
impl<P: Protocol> Cluster<P> {
    pub(super) fn queue_apply(&mut self, node: usize, job: ApplyJob) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.apply_queue.push_back(job);
        self.apply_next(node);
    }

    fn apply_next(&mut self, node: usize) {
        let (from, to) = self.plan.completions.apply;
        let Some(process) = &mut self.nodes[node].process else { return };
        if !process.applying && !process.apply_queue.is_empty() {
            process.applying = true;
            let delay = self.thread_rng.duration(from, to);
            self.plan_local(node, delay, Local::Applied);
        }
    }

    /// The thread is done with the job at the head of its queue.
    pub(super) fn on_applied(&mut self, node: usize) -> Verdict {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.applying = false;
        let job = process.apply_queue.pop_front().expect("it had a job");
        match job {
            ApplyJob::Apply(generation, entries) => {
                let batch = process.applier.apply(generation, entries);
                let batch = batch.map_err(|why| gave_up(node, &why))?;
                for change in process.applier.machine().take_changes() {
                    self.checks.changed(node, &change)?;
                }
                for (request, outcome) in batch.responses {
                    self.reply(node, request, reply_of(outcome))?;
                }
                self.report_applied(node, Event::Applied(batch.applied));
            }
            ApplyJob::Restore(generation, meta) => self.restore(node, generation, &meta)?,
            ApplyJob::TakeSnapshot => {
                let view = Box::new(process.applier.view());
                self.help(node, HelperJob::WriteSnapshot(view));
            }
            ApplyJob::Answer(request) => self.answer(node, request)?,
        }
        self.apply_next(node);
        Ok(())
    }

    fn restore(
        &mut self,
        node: usize,
        generation: quorate_core::Generation,
        meta: &SnapshotMeta,
    ) -> Verdict {
        let it = &mut self.nodes[node];
        let Some(process) = &mut it.process else { return Ok(()) };
        let Some(content) = it.store.snapshot(meta.id()) else {
            return Err(gave_up(node, &format_args!("the snapshot {:?} is not there", meta.id())));
        };
        let restored = process.applier.restore(generation, meta, &mut &content[..]);
        let deadline = restored.map_err(|why| gave_up(node, &why))?;
        let seen = process.applier.query(Look { key: 0 });
        self.checks.restored(node, &seen)?;
        self.report_applied(node, Event::Restored { generation, deadline });
        Ok(())
    }

    fn answer(&mut self, node: usize, request: RequestId) -> Verdict {
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let Some(asked) = process.asked.get(&request) else { return Ok(()) };
        let seen = process.applier.query(Look { key: asked.key });
        self.reply(node, request, Reply::Seen(seen))
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

fn reply_of(outcome: Outcome<crate::machine::Done>) -> Reply {
    match outcome {
        Outcome::Response(done) => Reply::Done(done),
        Outcome::Registered(session) => Reply::Registered(session),
        Outcome::NoSession => Reply::NoSession,
        Outcome::WindowExceeded => Reply::WindowExceeded,
        Outcome::Acknowledged => Reply::Acknowledged,
    }
}

/// The helpers.
impl<P: Protocol> Cluster<P> {
    pub(super) fn help(&mut self, node: usize, job: HelperJob<P::Message>) {
        let (from, to) = self.plan.completions.helper;
        let delay = self.thread_rng.duration(from, to);
        self.plan_local(node, delay, Local::Helped(job));
    }

    /// A helper is done with a job, whose effect on the disk is of this moment.
    pub(super) fn on_helped(&mut self, node: usize, job: HelperJob<P::Message>) {
        let event = match job {
            HelperJob::WriteSnapshot(view) => self.write_snapshot(node, &view),
            HelperJob::Files(effect) => self.access_files(node, *effect),
        };
        let time = self.report_time();
        let delay = Duration::from_micros(time.0 - self.now().0);
        self.plan_local(node, delay, Local::Event(event));
    }

    fn write_snapshot(&mut self, node: usize, view: &SnapshotView<Registers>) -> Event<P::Message> {
        let (meta, content) = encode_snapshot(view);
        self.nodes[node].store.keep_snapshot(&meta, content);
        self.marks.note("snapshots built");
        Event::SnapshotBuilt(Some(meta))
    }

    fn access_files(&mut self, node: usize, effect: Effect<P::Message>) -> Event<P::Message> {
        let store = &mut self.nodes[node].store;
        match effect {
            Effect::ReadEntries { reader, from, max_bytes } => {
                self.marks.note("old entries read");
                let entries = store.read_entries(from, max_bytes);
                Event::EntriesRead { reader, from, entries }
            }
            Effect::ReadChunk { to, snapshot, chunk } => {
                let bytes = store.read_chunk(snapshot, chunk);
                if bytes.is_none() {
                    self.marks.note("chunks gone");
                }
                Event::ChunkRead { to, snapshot, chunk, bytes }
            }
            Effect::BeginFetch { snapshot } => {
                self.marks.note("snapshot fetches begun");
                let id = snapshot.id();
                Event::FetchProgress { snapshot: id, next: store.begin_fetch(snapshot) }
            }
            Effect::WriteChunk { snapshot, chunk, bytes } => {
                let next = store.write_chunk(snapshot, chunk, &bytes);
                if next == FetchNext::Complete {
                    self.marks.note("snapshots fetched");
                }
                Event::FetchProgress { snapshot, next }
            }
            other => unreachable!("not an effect on files: {other:?}"),
        }
    }
}

fn encode_snapshot(view: &SnapshotView<Registers>) -> (SnapshotMeta, Bytes) {
    let mut content = Vec::new();
    view.write(&mut content).expect("memory can be written to");
    let meta = SnapshotMeta {
        last: view.last(),
        digest: view.digest(),
        membership: view.membership().clone(),
        time: view.time(),
        size_bytes: content.len() as u64,
        content: Digest::of(&content),
    };
    (meta, content.into())
}
