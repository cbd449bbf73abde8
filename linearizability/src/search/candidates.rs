//! Which operations that returned may come next: calls and returns in the order of time, as a doubly
//! linked list from which an operation is lifted when it is linearized (Lowe 2017).

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u32);

/// Stands at both ends of the list.
const END: Entry = Entry(0);

/// The list, and which operations are not in it.
///
/// Operations are numbered in the order of their calls.
pub(super) struct Candidates {
    next: Vec<Entry>,
    previous: Vec<Entry>,
    what: Vec<What>,
    /// For each operation, where it returns.
    returns: Vec<Entry>,
    linearized: Linearized,
}

#[derive(Clone, Copy)]
enum What {
    End,
    Call(u32),
    Return(u64),
}

/// A set of operations, which is soon the first so many and a few more.
pub(super) struct Linearized {
    bits: Vec<u64>,
    /// The first that is not in it.
    first_left: usize,
    count: usize,
}

impl Candidates {
    /// Of operations that were called and returned at these times; in the order of the calls.
    pub(super) fn new(times: impl Iterator<Item = (u64, u64)>) -> Candidates {
        let mut events = Vec::new();
        for (item, (called, returned)) in times.enumerate() {
            // At the same time, calls come first: such operations are concurrent.
            events.push((called, false, item));
            events.push((returned, true, item));
        }
        events.sort_unstable();
        let items = events.len() / 2;
        let (mut what, mut returns) = (vec![What::End], vec![END; items]);
        for (time, is_return, item) in events {
            if is_return {
                returns[item] = entry(what.len());
                what.push(What::Return(time));
            } else {
                what.push(What::Call(u32::try_from(item).expect("as entries are counted")));
            }
        }
        let length = what.len();
        Candidates {
            next: (0..length).map(|at| entry((at + 1) % length)).collect(),
            previous: (0..length).map(|at| entry((at + length - 1) % length)).collect(),
            what,
            returns,
            linearized: Linearized { bits: vec![0; items / 64 + 1], first_left: 0, count: 0 },
        }
    }

    /// True if all operations are linearized.
    pub(super) fn is_empty(&self) -> bool {
        self.first() == END
    }

    pub(super) fn first(&self) -> Entry {
        self.after(END)
    }

    pub(super) fn after(&self, entry: Entry) -> Entry {
        self.next[entry.0 as usize]
    }

    /// The operation that is called here. Behind the first entry that is none, none may come next.
    pub(super) fn call_at(&self, entry: Entry) -> Option<usize> {
        match self.what[entry.0 as usize] {
            What::Call(item) => Some(item as usize),
            What::Return(_) | What::End => None,
        }
    }

    /// The operation of an entry at which one is called.
    pub(super) fn item(&self, entry: Entry) -> usize {
        self.call_at(entry).expect("only calls are ever lifted")
    }

    /// When the first of those left has returned.
    pub(super) fn first_return(&self) -> u64 {
        let mut entry = self.first();
        loop {
            match self.what[entry.0 as usize] {
                What::Return(time) => return time,
                What::End => return u64::MAX,
                What::Call(_) => entry = self.after(entry),
            }
        }
    }

    pub(super) fn linearized(&self) -> &Linearized {
        &self.linearized
    }

    /// Linearizes the operation that is called here.
    pub(super) fn lift(&mut self, call: Entry) {
        let item = self.item(call);
        self.linearized.insert(item);
        self.unlink(call);
        self.unlink(self.returns[item]);
    }

    /// Takes back the last [`lift`](Candidates::lift) that was not taken back.
    pub(super) fn put_back(&mut self, call: Entry) {
        let item = self.item(call);
        self.link(self.returns[item]);
        self.link(call);
        self.linearized.remove(item);
    }

    fn unlink(&mut self, entry: Entry) {
        let (before, after) = (self.previous[entry.0 as usize], self.next[entry.0 as usize]);
        self.next[before.0 as usize] = after;
        self.previous[after.0 as usize] = before;
    }

    fn link(&mut self, entry: Entry) {
        let (before, after) = (self.previous[entry.0 as usize], self.next[entry.0 as usize]);
        self.next[before.0 as usize] = entry;
        self.previous[after.0 as usize] = entry;
    }
}

fn entry(at: usize) -> Entry {
    Entry(u32::try_from(at).expect("a history of one key has less than two billion operations"))
}

impl Linearized {
    fn insert(&mut self, item: usize) {
        self.bits[item / 64] |= 1 << (item % 64);
        self.count += 1;
        while self.bits[self.first_left / 64] >> (self.first_left % 64) & 1 == 1 {
            self.first_left += 1;
        }
    }

    fn remove(&mut self, item: usize) {
        self.bits[item / 64] &= !(1 << (item % 64));
        self.count -= 1;
        self.first_left = self.first_left.min(item);
    }

    /// The same for the same sets and for no others: the first that is not in the set, and from that
    /// one's word on the bits up to the last that is in it, unless none is.
    pub(super) fn key(&self) -> (usize, Box<[u64]>) {
        let mut left = self.count - self.first_left;
        if left == 0 {
            return (self.first_left, Box::default());
        }
        let from = self.first_left / 64;
        left += self.first_left % 64;
        let mut to = from;
        while left > 0 {
            left -= self.bits[to].count_ones() as usize;
            to += 1;
        }
        (self.first_left, self.bits[from..to].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_sets_apart_and_name_each_in_one_way() {
        let mut set = Linearized { bits: vec![0; 4], first_left: 0, count: 0 };
        let mut seen = std::collections::BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let among = if random.bool() { 5 } else { 200 };
            let item = random.usize(0..among);
            if set.bits[item / 64] >> (item % 64) & 1 == 0 {
                set.insert(item);
            } else {
                set.remove(item);
            }
            let before = seen.insert(set.key(), set.bits.clone());
            assert!(before.is_none_or(|before| before == set.bits));
            let mut again = Linearized { bits: vec![0; 4], first_left: 0, count: 0 };
            let mut items: Vec<usize> =
                (0..200).filter(|item| set.bits[item / 64] >> (item % 64) & 1 == 1).collect();
            random.shuffle(&mut items);
            items.iter().for_each(|item| again.insert(*item));
            assert_eq!(again.key(), set.key());
        }
    }

    #[test]
    fn only_what_is_called_before_the_first_return_may_come_next() {
        // 0: 1..5, 1: 2..3, 2: 3..4, 3: 4..9
        let mut list = Candidates::new([(1, 5), (2, 3), (3, 4), (4, 9)].into_iter());
        let candidates = |list: &Candidates| {
            let mut entry = list.first();
            let mut items = Vec::new();
            while let Some(item) = list.call_at(entry) {
                items.push((item, entry));
                entry = list.after(entry);
            }
            items
        };
        let items = |list: &Candidates| -> Vec<usize> {
            candidates(list).into_iter().map(|(item, _)| item).collect()
        };
        assert_eq!((items(&list), list.first_return()), (vec![0, 1, 2], 3));
        let second = candidates(&list)[1].1;
        list.lift(second);
        assert_eq!((items(&list), list.first_return()), (vec![0, 2, 3], 4));
        let third = candidates(&list)[1].1;
        list.lift(third);
        assert_eq!((items(&list), list.first_return()), (vec![0, 3], 5));
        list.put_back(third);
        list.put_back(second);
        assert_eq!((items(&list), list.first_return()), (vec![0, 1, 2], 3));
    }
}
