// How each replica stood at a moment: its log in memory, its log on the disk, its promise.

const emptyLog = (base = 0, baseBallot = 0) => ({ base, baseBallot, rows: [] });
const lastOf = (log) => log.base + log.rows.length;
const rowAt = (log, index) => log.rows[index - log.base - 1];
const lastIdOf = (log) => log.rows.length ? entries[log.rows[log.rows.length - 1].entry].id : `${log.base}@${log.baseBallot}`;

/// Cuts off what follows the entry before the run, or starts anew behind it, and appends.
const applyRun = (log, [index, ballot, refs], write) => {
  const previous = rowAt(log, index);
  const isHeld = index === log.base ? ballot === log.baseBallot : previous && entries[previous.entry].ballot === ballot;
  const cut = isHeld ? log.rows.splice(index - log.base) : [];
  if (!isHeld) Object.assign(log, emptyLog(index, ballot));
  for (const entry of refs) log.rows.push({ entry, write });
  return cut;
};
const applyWrite = (log, write) => write.runs.flatMap((run) => applyRun(log, run, write));
const foundLog = (found) => {
  const log = emptyLog(found.base_index, found.base_ballot);
  log.rows = found.entries.map((entry) => ({ entry, write: null }));
  return log;
};

/// The writes of the life that a process leads at `time`, and the log with which it began.
const lifeAt = (node, time) => {
  const found = foundLogsOf[node][lastAt(foundLogsOf[node], time)];
  const since = found ? found.time : -1;
  const last = lastAt(writesOf[node], time, "asked");
  let first = last;
  while (first >= 0 && writesOf[node][first].asked >= since) first -= 1;
  return { found, writes: writesOf[node].slice(first + 1, last + 1) };
};

const isOnDisk = (write, time) => write === null || (write.synced !== null && write.synced <= time);

const logAt = (node, time) => {
  const { found, writes: since } = lifeAt(node, time);
  const log = found ? foundLog(found) : emptyLog();
  const down = isDown(node, time);
  for (const write of since) if (!down || isOnDisk(write, time)) applyWrite(log, write);
  return log;
};

/// What the disk swears: by its log, or ahead of it.
const promiseOnDisk = (node, time) => {
  const { found, writes: since } = lifeAt(node, time);
  let promise = found ? found.pledge : "none";
  for (const write of since) if (isOnDisk(write, time) || (write.sworn !== null && write.sworn <= time)) promise = write.pledge;
  return promise;
};

const stateAt = (node, time) => isDown(node, time) ? null : statesOf[node][lastAt(statesOf[node], time)] ?? null;

/// The ballot that a promise is about; -1 if it names none.
const ballotIn = (text) => { const found = /\bb(\d+)/.exec(text); return found ? Number(found[1]) : -1; };

/// What a replica had heard from the others in its present life that lets it lead in a ballot: votes,
/// or reports of logs, the last of each sender.
const isSupport = (arrow) => claimOf(arrow, "votes") !== null || claimOf(arrow, "reports") !== null;
const supports = arrows.filter((arrow) => arrow.fate === "arrived" && isSupport(arrow)).sort(byTime("end"));
const supportFor = (node, ballot, time) => {
  const found = foundLogsOf[node][lastAt(foundLogsOf[node], time)];
  const until = Math.min(time, openingOf(node, ballot)?.asked ?? time);
  const heard = new Map();
  for (const arrow of supports) {
    if (arrow.to === node && arrow.end <= until && (!found || arrow.end >= found.time) && arrow.said.ballot === ballot) heard.set(arrow.from, arrow);
  }
  return [...heard.values()].sort((a, b) => a.from - b.from);
};
/// The write with the first entry that a replica held of a ballot. What a leader hears later had no say in its
/// choice of a log.
const openingOf = (node, ballot) => writesOf[node].find((write) => write.entries.some((ref) => entries[ref].ballot === ballot));
/// Where the log of a replica ended when its ballot began for it: index and ballot.
const ownHead = (node, ballot) => { const first = statesOf[node].find((it) => it.ballot === ballot); return [first.last_index, first.last_ballot]; };
const isBehind = ([index, ballot], [otherIndex, otherBallot]) => ballot < otherBallot || (ballot === otherBallot && index < otherIndex);
/// Where the log ends of which a report speaks: index and ballot; `null` if it is a vote.
const headOf = (arrow) => { const report = claimOf(arrow, "reports"); return report && [report.head.index, report.head.ballot]; };
const headWords = (arrow) => headOf(arrow).join("@");

/// A replica's reigns and followings: for how long it was what in which ballot.
const stretchesOf = nodes.map((node) => {
  const stretches = [];
  let open = null;
  const ends = downOf[node].map((span) => span.from);
  const close = (time) => { if (open) { open.until = time; open = null; } };
  for (const state of statesOf[node]) {
    const died = ends.find((end) => open && end >= open.from && end <= state.time);
    if (died !== undefined) close(died);
    if (!open || open.role !== state.role || open.ballot !== state.ballot || open.leader !== state.leader) {
      close(state.time);
      open = { node, from: state.time, until: record.end, role: state.role, ballot: state.ballot, leader: state.leader, notes: state.notes };
      stretches.push(open);
    }
  }
  const died = ends.find((end) => open && end >= open.from);
  if (died !== undefined) close(died);
  return stretches;
});

/// What became of an entry on each replica, as lines of text.
const lifeOfEntry = (ref) => {
  const { index } = entries[ref];
  return nodes.flatMap((node) => {
    const told = [];
    const tell = (time, what) => told.push({ time, node, what });
    let held = false;
    for (const found of foundLogsOf[node]) if (found.entries.includes(ref)) tell(found.time, "found on the disk at a start");
    for (const write of writesOf[node]) {
      for (const [previous, , refs] of write.runs) {
        if (refs.includes(ref)) {
          tell(write.asked, `appended, in write ${write.seq}`);
          if (write.synced !== null) tell(write.synced, "on the disk");
          held = true;
        } else if (held && previous < index) {
          tell(write.asked, "cut off");
          held = false;
        }
      }
    }
    const committed = statesOf[node].find((state) => state.committed >= index && told.some((line) => line.time <= state.time));
    if (committed && told.length) tell(committed.time, "known to be committed up to here");
    return told.sort(byTime("time"));
  });
};
