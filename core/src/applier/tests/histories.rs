use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Something that happens to a cluster with clients that retry, through two nodes.
#[derive(Clone, Debug)]
struct Step {
    what: u8,
    node: NodeId,
    session: usize,
    sequence: u64,
    first_unacknowledged: u64,
    micros: u64,
    limit: u32,
    snapshot_here: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0_u8..16, 1_u64..3, 0_usize..6, 0_u64..8, 0_u64..5, 0_u64..40, 1_u32..4, any::<bool>());
    let step = step.prop_map(|(what, node, session, sequence, first, micros, limit, here)| Step {
        what,
        node: NodeId(node),
        session,
        sequence,
        first_unacknowledged: first,
        micros,
        limit,
        snapshot_here: here,
    });
    prop::collection::vec(step, 1..100)
}

/// The entries, and for each the session request that it carries, if any.
fn log_of(steps: &[Step]) -> Vec<(Entry, Option<InSession>)> {
    let mut chain = Chain::new();
    let mut sessions = vec![SessionId(99)];
    let mut log = vec![(chain.found(), None)];
    for step in steps {
        chain.time += step.micros;
        let note = Do::Note(log.len() as u32);
        log.push(match step.what {
            0 => (chain.append(EntryKind::Noop, Bytes::new()), None),
            1 => (chain.append(EntryKind::Time, Bytes::new()), None),
            2 => (chain.command(step.node, None, note), None),
            3 => {
                let due = LogTime(chain.time + step.sequence * 8);
                (chain.command(step.node, None, Do::SetTimer(due)), None)
            }
            4 | 5 => {
                let entry = chain.register(step.node, step.limit, step.limit);
                sessions.push(SessionId(entry.index().0));
                (entry, None)
            }
            _ => {
                // The youngest sessions most of the time, so that they are not all evicted.
                let session = sessions[sessions.len() - 1 - step.session % sessions.len()];
                let request = InSession {
                    session,
                    sequence: step.sequence,
                    first_unacknowledged: step.first_unacknowledged,
                };
                (chain.command(step.node, Some(request), note), Some(request))
            }
        });
    }
    log
}

proptest! {
    #[test]
    fn snapshots_on_the_way_change_neither_responses_nor_state(steps in steps()) {
        let log = log_of(&steps);
        let entries: Vec<_> = log.iter().map(|(entry, _)| entry.clone()).collect();
        let mut straight = applier();
        let whole = straight.apply(NOW, entries.clone()).unwrap();

        let (mut hopping, mut responses, mut deadline) = (applier(), Vec::new(), None);
        let hops = std::iter::once(false).chain(steps.iter().map(|step| step.snapshot_here));
        for (entry, hop) in entries.into_iter().zip(hops) {
            let batch = hopping.apply(NOW, vec![entry]).unwrap();
            responses.extend(batch.responses);
            deadline = batch.applied.deadline;
            if hop {
                let (meta, content) = snapshot(&hopping);
                hopping = restore(&meta, &content).unwrap();
            }
        }
        prop_assert_eq!(responses, whole.responses);
        prop_assert_eq!(deadline, whole.applied.deadline);
        prop_assert_eq!(snapshot(&hopping), snapshot(&straight));
    }

    #[test]
    fn a_session_request_takes_effect_once_and_is_answered_alike_for_ever(steps in steps()) {
        let log = log_of(&steps);
        let mut applier = applier();
        let mut first_answers: BTreeMap<(SessionId, u64), (Index, usize)> = BTreeMap::new();
        for (entry, request) in log {
            let before = applier.machine().notes.len();
            let index = entry.index();
            let own = Command::decode(&entry.payload).is_some_and(|it| it.origin.node == ME);
            let outcome = apply(&mut applier, entry);
            let Some(InSession { session, sequence, .. }) = request else { continue };
            prop_assert_eq!(outcome.is_some(), own);
            let effects = applier.machine().notes.len() - before;
            let known = first_answers.get(&(session, sequence)).copied();
            if effects > 0 {
                prop_assert_eq!((effects, known), (1, None), "applied twice");
                first_answers.insert((session, sequence), (index, before + 1));
            }
            match outcome {
                Some(Outcome::Response(response)) => {
                    prop_assert_eq!(first_answers.get(&(session, sequence)), Some(&response));
                }
                Some(_) => prop_assert_eq!(effects, 0),
                None => {}
            }
        }
    }
}
