// What looks wrong in the record, whatever the protocol: the oracles say what is violated in the
// end; these say what was odd on the way there. A run without a bug has none of it.

const findings = (() => {
  const found = [];
  const seen = new Map();
  const report = (time, node, sort, text) => {
    const key = `${sort} ${node}`;
    const earlier = seen.get(key);
    if (earlier) { earlier.more += 1; return; }
    const finding = { time, node, sort, text, more: 0 };
    seen.set(key, finding);
    found.push(finding);
  };
  const majority = Math.floor(nodes.length / 2) + 1;
  const held = nodes.map(() => emptyLog());
  const disks = nodes.map(() => emptyLog());
  const promised = nodes.map(() => "none");
  const latest = nodes.map(() => null);
  const committed = new Map();
  let committedTo = 0;

  const idOf = (row) => row ? entries[row.entry].id : "nothing";
  const differs = (row, entry) => !row || entries[row.entry].digest !== entries[entry].digest;

  // The first write of each replica in each ballot that has an entry of it.
  const openings = new Map(nodes.flatMap((node) => [...new Set(statesOf[node].map((it) => it.ballot))].map((ballot) => [openingOf(node, ballot), ballot])));

  const onStart = (start) => {
    const { node, time } = start;
    held[node] = foundLog(start);
    disks[node] = foundLog(start);
    promised[node] = start.pledge;
    if (start.given !== start.pledge) {
      report(time, node, "forgot", `starts with the promise “${plain(start.given)}”; its disk has “${plain(start.pledge)}”`);
    }
    const first = statesOf[node][lastAt(statesOf[node], time)];
    if (first && first.time === time && ballotIn(first.pledge) < ballotIn(start.given)) {
      report(time, node, "dropped", `goes on with the promise “${plain(first.pledge)}”; its disk has “${plain(start.pledge)}”`);
    }
    latest[node] = null;
  };

  const onWrite = (write) => {
    for (const row of applyWrite(held[write.node], write)) {
      const { index, id } = entries[row.entry];
      if (committed.has(index) && !differs(row, committed.get(index)) && differs(rowAt(held[write.node], index), row.entry)) {
        report(write.asked, write.node, "cut", `cuts off ${id}, which is committed`);
      }
    }
    onTakeOver(write);
    const opening = openings.get(write);
    if (opening !== undefined) onChoice(write.node, opening, write.asked);
  };

  const onDisk = ({ write, time }) => {
    applyWrite(disks[write.node], write);
    promised[write.node] = write.pledge;
    if (write.reported !== null && write.reported < time) {
      report(write.reported, write.node, "early", `is told that write ${write.seq} is saved; the disk has it ${duration(time - write.reported)} later`);
    }
  };

  const onCommit = (state) => {
    const { node, time } = state;
    const log = held[node];
    for (let index = committedTo + 1; index <= Math.min(state.committed, lastOf(log)); index += 1) {
      const row = rowAt(log, index);
      if (!row) continue;
      committed.set(index, row.entry);
      const holders = nodes.filter((other) => disks[other].base >= index || !differs(rowAt(disks[other], index), row.entry));
      if (holders.length < majority) {
        const where = holders.length ? `on the disk of ${holders.map(nameOf).join(", ")} only` : "on no disk";
        report(time, node, "quorum", `commits ${idOf(row)} (${entries[row.entry].label}), which is ${where}`);
      }
    }
    const last = rowAt(log, state.committed);
    const counted = state.role === "leader" && latest[node] && latest[node].role === "leader" && latest[node].ballot === state.ballot;
    if (counted && last && entries[last.entry].ballot < state.ballot) {
      report(time, node, "older", `leads in ${ballotWord} ${state.ballot} and commits up to ${idOf(last)}, an entry of an earlier one, with none of its own`);
    }
    committedTo = Math.max(committedTo, state.committed);
    const before = latest[node] ? latest[node].committed : 0;
    for (let index = before + 1; index <= state.committed; index += 1) {
      const row = rowAt(log, index);
      if (row && committed.has(index) && differs(row, committed.get(index))) {
        report(time, node, "fork", `commits ${idOf(row)} where ${entries[committed.get(index)].id} is committed`);
      }
    }
  };

  const onState = (state) => {
    const { node, time, ballot } = state;
    const before = latest[node];
    if (before) onCommitUnshown(state, before);
    if (state.committed > (before ? before.committed : 0)) onCommit(state);
    const row = rowAt(held[node], state.durable);
    if (row && !isOnDisk(row.write, time)) {
      report(time, node, "durable", `believes its log to be on disk up to ${state.durable}; write ${row.write.seq} with ${idOf(row)} is not`);
    }
    if (state.role === "leader" && (!before || before.role !== "leader" || before.ballot !== ballot)) {
      for (const other of nodes) {
        const rival = statesOf[other].find((it) => it.role === "leader" && it.ballot === ballot && it.time <= time);
        if (other !== node && rival) report(time, node, "rival", `leads in ${ballotWord} ${ballot}, in which ${nameOf(other)} led since ${clock(rival.time)}`);
      }
      for (const [index, entry] of committed) {
        if (index > held[node].base && differs(rowAt(held[node], index), entry)) {
          report(time, node, "incomplete", `leads in ${ballotWord} ${ballot} without ${entries[entry].id} (${entries[entry].label}), which is committed; it has ${idOf(rowAt(held[node], index))} there`);
          break;
        }
      }
    }
    if (before) {
      if (ballotIn(state.pledge) < ballotIn(before.pledge)) report(time, node, "back", `takes its promise back: “${plain(before.pledge)}” becomes “${plain(state.pledge)}”`);
      const isSame = ballotIn(state.pledge) === ballotIn(before.pledge);
      if (isSame && state.pledge !== before.pledge && !before.pledge.includes("None")) {
        report(time, node, "changed", `changes its promise: “${plain(before.pledge)}” becomes “${plain(state.pledge)}”`);
      }
      if (state.committed < before.committed) report(time, node, "uncommits", `had committed up to ${before.committed}, and goes back to ${state.committed}`);
    }
    latest[node] = state;
  };

  const grants = new Map();
  const candidates = new Map();
  const onMessage = (arrow) => {
    const { from: node, to, kind, said: { ballot }, sent, copy } = arrow;
    if (copy) return;
    if (ballot !== null && record.words.speaks_under_oath && ballot > ballotIn(promised[node])) {
      report(sent, node, "unsaved", `says ${kind} in ${ballotWord} ${ballot}; its disk has the promise “${plain(promised[node])}”`);
    }
    const acknowledged = claimOf(arrow, "acknowledges");
    if (acknowledged && acknowledged.through > lastOf(disks[node])) {
      report(sent, node, "acknowledged", `acknowledges everything up to ${acknowledged.through}; its disk ends at ${lastIdOf(disks[node])}`);
    }
    const candidate = claimOf(arrow, "stands");
    if (candidate) candidates.set(`${node} in ${ballot}`, [candidate.last.index, candidate.last.ballot]);
    if (claimOf(arrow, "votes")) onVote(arrow);
  };
  const onVote = (arrow) => {
    const { from: node, to, said: { ballot }, sent } = arrow;
    const asking = candidates.get(`${to} in ${ballot}`);
    const own = lastIdOf(held[node]).split("@").map(Number);
    if (asking && isBehind(asking, own) && own[1] < ballot) {
      report(sent, node, "behind", `votes for ${nameOf(to)} in ${ballotWord} ${ballot}, whose log ends at ${asking.join("@")}; its own ends at ${own.join("@")}`);
    }
    const vote = `${node} in ${ballot}`;
    const earlier = grants.get(vote);
    if (earlier && earlier.to !== to) report(sent, node, "votes", `votes for ${nameOf(to)} in ${ballotWord} ${ballot}, after it voted for ${nameOf(earlier.to)} at ${clock(earlier.sent)}`);
    else grants.set(vote, arrow);
  };

  // How far the leader of a ballot has shown a follower its log.
  const shown = nodes.map(() => ({ ballot: -1, to: 0 }));
  const onHeard = (arrow) => {
    const { to: node, said: { ballot } } = arrow;
    const stretch = claimOf(arrow, "shows");
    if (!stretch) return;
    if (ballot > shown[node].ballot) shown[node] = { ballot, to: 0 };
    if (ballot === shown[node].ballot) shown[node].to = Math.max(shown[node].to, stretch.previous.index + stretch.count);
  };
  const onCommitUnshown = (state, before) => {
    const { node, ballot, committed: to, time } = state;
    const seen = shown[node];
    if (state.role !== "follower" || seen.ballot !== ballot) return;
    if (to <= before.committed || to <= seen.to || to <= held[node].base) return;
    report(time, node, "unshown", `takes its log for committed up to ${to}; the ${leaderWord} of ${ballotWord} ${ballot} has shown it no more than what is up to ${seen.to}`);
  };

  // Where logs are reported, a ballot begins with the best log that a quorum reports, unless somebody says that what that one lacks, or is
  // damaged there, was surely never written. A report may be left out whose log is not shown in time.
  const lacking = new Set(arrows.filter((arrow) => claimOf(arrow, "nacks")).map(({ to, said }) => `${to} in ${said.ballot}`));
  const onTakeOver = ({ node, asked }) => {
    const state = latest[node];
    if (!state || state.role !== "candidate" || lacking.has(`${node} in ${state.ballot}`)) return;
    const [before, after] = [ownHead(node, state.ballot), lastIdOf(held[node])];
    const reports = supportFor(node, state.ballot, asked).filter(headOf);
    const isBest = reports.length > 0 && reports.every((arrow) => !isBehind(before, headOf(arrow)));
    if (!isBest || Number(after.split("@")[1]) >= before[1]) return;
    const words = reports.map((arrow) => `${nameOf(arrow.from)}'s ends at ${headWords(arrow)}`).join(", ");
    report(asked, node, "choice", `gives up its log for ${ballotWord} ${state.ballot}, which is the best of those reported and ended at ${before.join("@")} (${words})`);
  };
  const onChoice = (node, ballot, time) => {
    const reports = supportFor(node, ballot, time).filter(headOf);
    const opening = held[node].rows.findIndex((row) => entries[row.entry].ballot === ballot);
    if (!reports.length || opening < 1 || lacking.has(`${node} in ${ballot}`)) return;
    const { id } = entries[held[node].rows[opening - 1].entry];
    const isBetter = (head) => isBehind(id.split("@").map(Number), head);
    const better = reports.filter((arrow) => isBetter(headOf(arrow)));
    const others = reports.length - better.length + (isBetter(ownHead(node, ballot)) ? 0 : 1);
    if (!better.length || others >= majority) return;
    const words = better.map((arrow) => `${nameOf(arrow.from)}'s, which ends at ${headWords(arrow)}`).join(", ");
    report(time, node, "choice", `begins ${ballotWord} ${ballot} with a log that ends at ${id}; of the logs that were reported to it a better one is ${words}`);
  };

  const onReply = ({ request, attempt }) => {
    const told = /as (?:of )?effect (\d+)/.exec(attempt.reply);
    const had = /effect (\d+) had been seen/.exec(attempt.reply);
    if (!told || !had) return;
    const isRead = attempt.reply.startsWith("sees");
    if (Number(told[1]) + (isRead ? 1 : 0) > Number(had[1])) return;
    const state = stateAt(attempt.node, attempt.replied);
    const as = state ? `${roleWord(state.role)} in ${ballotWord} ${state.ballot}, applied up to ${state.applied}` : "down";
    const asked = attempt.replied === attempt.reached ? ", at once, without asking anybody" : "";
    report(attempt.replied, attempt.node, "stale", `(${as}) answers op ${request.op} (${request.what}) from the state of effect ${told[1]}${asked}; effect ${had[1]} had been seen before it was asked`);
  };

  const steps = [];
  const add = (rows, key, rank, take) => rows.forEach((row) => { if (row[key] !== null) steps.push({ time: row[key], rank, row, take }); });
  const synced = writes.filter((write) => write.synced !== null).map((write) => ({ write, time: write.synced }));
  add(synced, "time", 0, onDisk);
  add(writes.filter((write) => write.sworn !== null), "sworn", 1, (write) => { promised[write.node] = write.pledge; });
  add(foundLogs, "time", 2, onStart);
  add(writes, "asked", 3, onWrite);
  add(arrows, "sent", 4, onMessage);
  add(arrows.filter((arrow) => arrow.fate === "arrived"), "end", 2, onHeard);
  add(states, "time", 5, onState);
  const replies = requests.flatMap((request) => request.attempts.map((attempt) => ({ request, attempt, time: attempt.replied })));
  add(replies, "time", 6, onReply);
  steps.forEach((step, at) => { step.at = at; });
  steps.sort((a, b) => a.time - b.time || a.rank - b.rank || a.at - b.at);
  for (const { row, take } of steps) take(row);
  // Reported before the disk had it, and never synced at all.
  for (const write of writes) {
    if (write.reported !== null && write.synced === null) report(write.reported, write.node, "early", `is told that write ${write.seq} is saved; the disk never has it`);
  }
  return found.sort(byTime("time"));
})();

const moreWords = ({ more }) => more === 0 ? "" : more === 1 ? " (and once more)" : ` (and ${more} times more)`;
