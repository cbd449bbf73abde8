"use strict";
// What happened in the run: the tables of the record as rows, in order of time, and their words.

const record = JSON.parse(document.getElementById("record").textContent);
const command = JSON.parse(document.getElementById("command").textContent);
const texts = record.texts;
const nodes = Array.from({ length: record.replicas }, (_, node) => node);
const { ballot: ballotWord, leader: leaderWord } = record.words;
const roleWord = (role) => record.words[role];
const violation = record.violation;
const concernedIndexes = new Set(violation ? violation.indexes : []);
const concernedReplicas = new Set(violation ? violation.replicas : []);
const concernedOps = new Set(violation ? violation.ops : []);

const rowsOf = (table) => {
  const names = Object.keys(table);
  const rows = names.length ? table[names[0]].map(() => ({})) : [];
  for (const name of names) table[name].forEach((value, at) => { rows[at][name] = value; });
  return rows;
};
const byTime = (key) => (a, b) => a[key] - b[key];

/// What a message claims in its ballot, if it is of this kind.
const claimOf = ({ said: { ballot, claim } }, kind) => ballot !== null && claim !== null && claim.kind === kind ? claim : null;

const nameOf = (node) => `n${node + 1}`;
const entries = rowsOf(record.entries);
for (const entry of entries) {
  entry.id = `${entry.index}@${entry.ballot}`;
  entry.label = texts[entry.label] || texts[entry.kind].toLowerCase() || "entry";
}
const labelOfId = new Map(entries.map((entry) => [entry.id, entry.label]));
// A message names an entry by its kind; the picture knows what it does.
const spoken = texts.map((text) => text.includes("@")
  ? text.replace(/(\d+@\d+) [A-Z][a-z]+/g, (all, id) => labelOfId.has(id) ? `${id} ${labelOfId.get(id)}` : all)
  : text);

/// Of a message about which its protocol says nothing.
const nothingSaid = { topic: null, ballot: null, claim: null };
const arrows = rowsOf(record.arrows).sort(byTime("sent"));
const latencies = arrows.filter((arrow) => arrow.fate === "arrived").map((arrow) => arrow.end - arrow.sent).sort((a, b) => a - b);
const usualLatency = latencies.length ? latencies[latencies.length >> 1] : 500;
for (const arrow of arrows) {
  arrow.kind = texts[arrow.kind];
  arrow.text = spoken[arrow.text];
  arrow.said = arrow.said === null ? nothingSaid : record.said[arrow.said];
  // Where the drawn line ends: a message that was lost at once never had a moment to arrive.
  arrow.until = arrow.end ?? arrow.sent + usualLatency;
}
const spans = rowsOf(record.spans);
for (const span of spans) span.end = span.until ?? record.end;
const moments = rowsOf(record.moments);
for (const moment of moments) {
  moment.kind = texts[moment.kind];
  moment.text = spoken[moment.text];
}
const writes = rowsOf(record.writes);
for (const write of writes) {
  write.pledge = texts[write.pledge];
  write.notes = texts[write.notes];
  write.entries = write.runs.flatMap((run) => run[2]).concat(write.repairs);
}
const foundLogs = rowsOf(record.logs);
for (const log of foundLogs) { log.pledge = texts[log.pledge]; log.given = texts[log.given]; }
const states = rowsOf(record.states);
for (const state of states) for (const name of ["role", "pledge", "notes"]) state[name] = texts[state[name]];
const requests = rowsOf(record.requests);
for (const request of requests) {
  request.what = texts[request.what];
  request.outcome = texts[request.outcome];
  request.end = request.ended ?? record.end;
  for (const attempt of request.attempts) attempt.reply = texts[attempt.reply];
}

const ofNode = (rows) => nodes.map((node) => rows.filter((row) => row.node === node));
const statesOf = ofNode(states);
const writesOf = ofNode(writes);
const foundLogsOf = ofNode(foundLogs);
const downOf = nodes.map((node) => spans.filter((span) => span.node === node && span.kind === "down"));

/// The position of the last row that is not later than `time`; -1 if there is none.
const lastAt = (rows, time, key = "time") => {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle][key] <= time) low = middle + 1; else high = middle;
  }
  return low - 1;
};
const isDown = (node, time) => downOf[node].some((span) => span.from <= time && (span.until === null || time < span.until));

// Words.

const seconds = (time) => `${(time / 1e6).toFixed(6)} s`;
const clock = (time) => {
  if (!violation) return seconds(time);
  const before = (time - record.end) / 1000;
  return `${before < 0 ? "−" : ""}${Math.abs(before).toFixed(3)} ms`;
};
const duration = (micros) => micros >= 1e6 ? `${(micros / 1e6).toFixed(3)} s` : micros >= 1000 ? `${(micros / 1000).toFixed(3)} ms` : `${micros} µs`;
const entryWords = (refs) => refs.length > 6
  ? `${refs.length} entries ${entries[refs[0]].id} … ${entries[refs[refs.length - 1]].id}`
  : refs.map((ref) => `${entries[ref].id} ${entries[ref].label}`).join(", ");
const fateWords = {
  arrived: "arrives", underway: "still on its way at the end", lost: "lost by the network", cut: "lost: the link is cut",
  unsaid: "lost: its sender died before it was out", unheard: "lost: the receiver is down", forbidden: "violates the property",
};

/// Debug text as people say it: `granted: true` is "granted".
const simplified = new Map();
const plain = (text) => {
  let words = simplified.get(text);
  if (words === undefined) simplified.set(text, words = simplify(text));
  return words;
};
const simplify = (text) => text
  .replace(/Some\(([^()]*)\)/g, "$1")
  .replace(/\b[Rr]eplica (\d+)\b/g, "n$1")
  .replace(/voted_for: None/g, "no vote").replace(/voted_for: /g, "voted for ")
  .replace(/\b(\w+): b(\d+)/g, "$1 $2")
  .replace(/(?<![#\w])b(\d+)\b/g, `${ballotWord} $1`)
  .replace(/\b(\w+): true\b/g, "$1").replace(/\b(\w+): false\b/g, "not $1")
  .replace(/: \[\]/g, ": none")
  .replace(/OpId\((\d+)\)/g, "op $1")
  .replace(/Index\((\d+)\)/g, "$1").replace(/\(i(\d+)\)/g, " $1").replace(/\bi(\d+)\b/g, "$1")
  .replace(/(\w+)\(\1 \{ ?/g, "$1 { ").replace(/ \}\)/g, " }");

/// Which links are cut, as people draw it.
const cutWords = (cuts) => {
  const isCut = (from, to) => cuts.some((cut) => cut[0] === from && cut[1] === to);
  const others = (node) => nodes.filter((other) => other !== node);
  for (const one of nodes) {
    const rest = cuts.filter(([from, to]) => from !== one && to !== one).length;
    const out = others(one).every((other) => isCut(one, other));
    const heard = others(one).every((other) => isCut(other, one));
    if (rest || nodes.length < 2) continue;
    if (out && heard) return `${nameOf(one)} is cut off`;
    if (out && !others(one).some((other) => isCut(other, one))) return `nobody hears ${nameOf(one)}`;
    if (heard && !others(one).some((other) => isCut(one, other))) return `${nameOf(one)} hears nobody`;
  }
  const group = nodes.filter((node) => node === 0 || !isCut(0, node));
  const rest = nodes.filter((node) => !group.includes(node));
  const isSplit = cuts.length === 2 * group.length * rest.length && group.every((a) => rest.every((b) => isCut(a, b) && isCut(b, a)));
  if (isSplit) return `${group.map(nameOf).join(" ")} | ${rest.map(nameOf).join(" ")}`;
  return `cut: ${cuts.map(([from, to]) => `${nameOf(from)}→${nameOf(to)}`).join(", ")}`;
};
