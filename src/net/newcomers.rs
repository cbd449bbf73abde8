//! Connections whose other end has not said yet who it is.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// The places of those who have not said who they are. When there is none left, the one who has
/// been silent for longest gives way: whoever speaks at once, as nodes and clients do, gets in
/// however many say nothing.
pub(super) struct Newcomers {
    /// How many there may be at once.
    max: usize,
    /// From the first to the last. A place is free again when its holder has dropped it.
    silent: VecDeque<oneshot::Sender<()>>,
}

/// One place. It completes when its holder has to give way.
pub(super) type Place = oneshot::Receiver<()>;

impl Newcomers {
    pub(super) fn new(max: usize) -> Newcomers {
        Newcomers { max, silent: VecDeque::new() }
    }

    pub(super) fn admit(&mut self) -> Place {
        self.silent.retain(|one| !one.is_closed());
        if self.silent.len() >= self.max {
            self.dismiss_one();
        }
        let (dismissal, place) = oneshot::channel();
        self.silent.push_back(dismissal);
        place
    }

    /// Has the one who has been silent for longest give way.
    pub(super) fn dismiss_one(&mut self) {
        while let Some(oldest) = self.silent.pop_front() {
            if oldest.send(()).is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_gives_way_and_no_other() {
        const MAX: usize = 20;
        let mut newcomers = Newcomers::new(MAX);
        let mut places: Vec<Place> = (0..MAX).map(|_| newcomers.admit()).collect();
        drop(places.remove(0));
        places.push(newcomers.admit());
        assert!(places.iter_mut().all(|place| place.try_recv().is_err()));
        places.push(newcomers.admit());
        let dismissed = |place: &mut Place| place.try_recv().is_ok();
        let dismissed: Vec<bool> = places.iter_mut().map(dismissed).collect();
        assert!(dismissed[0] && !dismissed[1..].contains(&true));
        newcomers.dismiss_one();
        assert!(places[1].try_recv().is_ok());
    }
}
