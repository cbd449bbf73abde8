//! What the meta file keeps of a write: promises, and what stands nowhere else.
//!
//! The meta file has its place on the disk from the first start on, and is overwritten where it
//! stands: for what goes there, there is always room. So a disk that takes no more groups still
//! takes votes. A write that changes nothing but the pledge can be saved without a group. Behind
//! entries for which there is no room it cannot be saved, since writes are saved in their order;
//! but its pledge can be sworn ahead of them.

use quorate_core::WriteSeq;

use super::Wal;
use super::batch::Batch;
use crate::error::StorageError;
use crate::job::{Job, Outcome, Step};
use crate::meta::{Meta, Oath, Sworn};

/// An update of the meta file.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) meta: Box<Meta>,
    pub(super) steps: Vec<Step>,
}

impl Wal {
    /// What the meta file has to say before the batch is saved, if that is anything new: that the
    /// replica is mute. What makes it so may be what the batch cuts off.
    pub(super) fn falling_mute(&self, batch: &Batch) -> Result<Option<Update>, StorageError> {
        if !batch.mute || self.meta.mute {
            return Ok(None);
        }
        let mut meta = Box::new(self.meta.clone());
        meta.mute = true;
        meta.durable_through = self.head.sequence;
        let steps = meta.update_both()?.to_vec();
        Ok(Some(Update { meta, steps }))
    }

    /// What the meta file has to say once the batch is saved, if that is anything new. `before` is
    /// what it says until then, and `group` the sequence of the group that carries the batch, if one
    /// does.
    pub(super) fn meta_of(
        &self,
        before: &Meta,
        batch: &Batch,
        group: Option<u64>,
    ) -> Result<Option<Update>, StorageError> {
        let mut meta = Box::new(before.clone());
        let sequence = group.unwrap_or(self.head.sequence);
        if let Some(pledge) = &batch.head.pledge {
            let is_beside = group.is_none() && self.head.pledge != Some(*pledge);
            let was_beside = group.is_none() && before.sworn_beyond(sequence).is_some();
            if is_beside {
                meta.sworn = Some(Sworn::beside(sequence, pledge));
            } else if batch.promise && !was_beside {
                meta.sworn = Some(Sworn::in_group(sequence, pledge));
            }
        }
        let is_outdone = self.ahead.is_some_and(|ahead| ahead > batch.last);
        if batch.promise && !is_outdone {
            meta.ahead = None;
        }
        // What was sworn ahead was sworn by a replica that knew itself to be mute.
        meta.mute = batch.mute || (is_outdone && before.mute);
        if let Some(peers) = &batch.peers {
            meta.peers.clone_from(peers);
        }
        if let Some(founding) = &batch.founding {
            meta.founding.clone_from(founding);
        }
        if *meta == *before {
            return Ok(None);
        }
        meta.durable_through = sequence;
        let stands_here_alone = meta.sworn_beyond(sequence).is_some()
            || batch.founding.is_some()
            || batch.peers.is_some()
            || meta.mute != before.mute;
        let steps =
            if stands_here_alone { meta.update_both()?.to_vec() } else { meta.update()?.to_vec() };
        Ok(Some(Update { meta, steps }))
    }

    /// With no room for the next group: saves what can do without, or swears what is promised
    /// behind it.
    pub(super) fn swear(&mut self) -> Result<Option<Job>, StorageError> {
        let mut is_mute = self.meta.mute;
        let needs_no_group = self.queue.iter().take_while(|(_, write)| {
            let ends_muteness = std::mem::replace(&mut is_mute, write.mute) && !write.mute;
            write.runs.is_empty()
                && write.repairs.is_empty()
                && write.snapshot == self.head.snapshot
                && !ends_muteness
        });
        let count = needs_no_group.count();
        if count > 0 {
            let batch = self.batch(count);
            let job = self.job_without_group(&batch)?;
            self.queue.drain(..count);
            return Ok(Some(job));
        }
        let promise = self.queue.iter().rposition(|(_, write)| write.promise);
        let Some(last) = promise.filter(|last| Some(self.queue[*last].0) > self.ahead) else {
            return Ok(None);
        };
        let mut meta = Box::new(self.meta.clone());
        meta.ahead = Some(Oath::new(&self.queue[last].1.pledge));
        meta.mute |= self.queue.range(..=last).any(|(_, write)| write.mute);
        meta.durable_through = self.head.sequence;
        let steps = meta.update_both()?.to_vec();
        let seq: WriteSeq = self.queue[last].0;
        Ok(Some(self.begin(steps, Outcome::Sworn { seq, meta })))
    }

    pub(super) fn job_without_group(&mut self, batch: &Batch) -> Result<Job, StorageError> {
        let update = self.meta_of(&self.meta, batch, None)?;
        let (meta, steps) = update.map(|update| (update.meta, update.steps)).unzip();
        let outcome = Outcome::Saved {
            seq: Some(batch.last),
            pledge: batch.head.pledge,
            written: None,
            meta,
        };
        Ok(self.begin(steps.unwrap_or_default(), outcome))
    }
}
