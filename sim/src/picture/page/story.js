// The run as lines of text, in order of time: what is listed, searched and stepped through.

const families = ["elect", "repair", "found", "forward", "reply", "replicate"];
const strange = new Map();
const familyOf = ({ kind, said: { topic } }) => {
  if (topic !== null) return topic === "heartbeat" ? "replicate" : topic;
  // Of a protocol that does not say: each kind has a colour of its own, as long as there are some.
  if (!strange.has(kind)) strange.set(kind, families[strange.size % families.length]);
  return strange.get(kind);
};
/// What there is most of and what is rarely looked for.
const routine = new Set(["heartbeat", "forward", "found"]);

/// The short form for the list: entries first, without what only matters to the two.
const brief = (text) => {
  const found = /(?:, )?entries: (none|\[([^\]]*)\])/.exec(text);
  const rest = (found ? text.replace(found[0], "") : text).replace(/,? ?probe: \d+/, "").replace(/outcome: /, "").replace(/^, /, "");
  if (!found) return rest;
  const list = found[2] ? found[2].split(", ") : [];
  const shown = list.length > 4 ? [...list.slice(0, 2), `… ${list.length} in all …`, list[list.length - 1]] : list;
  return `${shown.length ? `[${shown.join(", ")}]` : "(no entries)"} ${rest}`;
};

const KEY = 3, MOST = 2, ALL = 1;

/// A line of the story. Its words are put together when somebody wants them.
class Line {
  constructor(time, who, lanes, words, level, type, ref, more) {
    Object.assign(this, { time, who, lanes, words, level, type, ref }, more);
  }

  get text() {
    if (typeof this.words === "function") this.words = this.words();
    return this.words;
  }

  get haystack() {
    // What the text leaves out for brevity is found all the same.
    return this.lowered ??= `${this.who} ${this.text} ${this.whole ? this.whole() : ""}`.toLowerCase();
  }
}

/// What a leader had heard when it began to lead, and what it had itself.
const supportWords = (node, state) => {
  const heard = supportFor(node, state.ballot, state.time);
  if (!heard.length) return "";
  if (headOf(heard[0]) === null) return ` · voted for by ${heard.map((arrow) => nameOf(arrow.from)).join(", ")}`;
  return ` · its own log ended at ${ownHead(node, state.ballot).join("@")}; reported to it: ${heard.map((arrow) => `${nameOf(arrow.from)}'s at ${headWords(arrow)}`).join(", ")}`;
};

const story = (() => {
  const lines = [];
  const add = (time, who, lanes, words, level, type, ref, more = {}) => {
    const line = new Line(time, who, lanes, words, level, type, ref, more);
    lines.push(line);
    return line;
  };
  const one = (node, ...rest) => (time) => add(time, nameOf(node), [node], ...rest);

  for (const arrow of arrows) {
    arrow.family = familyOf(arrow);
    const level = arrow.family === "elect" ? KEY : routine.has(arrow.said.topic) ? ALL : MOST;
    const arrived = arrow.fate === "arrived";
    const fate = arrived ? `sent ${duration(arrow.end - arrow.sent)} earlier` : fateWords[arrow.fate];
    const text = () => `${arrow.kind} ${brief(plain(arrow.text))} · ${arrow.copy ? "a copy, " : ""}${fate}`;
    arrow.line = add(arrived ? arrow.end : arrow.sent, `${nameOf(arrow.from)}→${nameOf(arrow.to)}`, [arrow.from, arrow.to], text,
      arrow.fate === "forbidden" ? KEY : level, "arrow", arrow, { whole: () => plain(arrow.text), family: arrow.family, bad: arrow.fate === "forbidden", rank: arrived ? 2 : 6 });
  }
  const notedBefore = nodes.map(() => "");
  for (const write of writes) {
    const what = [];
    for (const [index, ballot, refs] of write.runs) what.push(refs.length ? entryWords(refs) : `cut behind ${index}@${ballot}`);
    if (write.repairs.length) what.push(`repairs ${entryWords(write.repairs)}`);
    if (write.promise || !what.length) what.push(`promise ${plain(write.pledge)}`);
    const notes = write.notes.replace(/(, )?peers .*$/, "");
    if (notes && notes !== notedBefore[write.node]) what.push(plain(notes));
    notedBefore[write.node] = notes;
    write.words = what.join("; ");
    const level = write.promise ? KEY : MOST;
    const whole = () => write.entries.map((ref) => `${entries[ref].id} ${entries[ref].label}`).join(", ");
    write.line = one(write.node, `writes (${write.seq}): ${write.words}`, level, "write", write, { rank: 3, whole })(write.asked);
    if (write.sworn !== null) one(write.node, `disk has the promise of write ${write.seq}`, MOST, "write", write, { rank: 0 })(write.sworn);
    if (write.synced !== null) one(write.node, `disk has write ${write.seq}: ${write.words}`, level, "write", write, { rank: 0, whole })(write.synced);
    if (write.reported !== null) one(write.node, `is told that write ${write.seq} is saved`, ALL, "write", write, { rank: 1 })(write.reported);
  }
  for (const node of nodes) {
    let before = null;
    for (const state of statesOf[node]) {
      if (before && isDown(node, before.time) !== isDown(node, state.time)) before = null;
      const isFresh = !before || downOf[node].some((span) => span.from >= before.time && span.from <= state.time);
      if (isFresh || before.role !== state.role || before.ballot !== state.ballot || before.leader !== state.leader) {
        const leads = state.role === "leader";
        const role = state.role !== "follower" ? `is ${roleWord(state.role).replace("view change", "changing the view")}` : state.leader === null ? "follows nobody" : `follows ${nameOf(state.leader)}`;
        const why = () => leads ? supportWords(node, state) : "";
        one(node, () => `${role} in ${ballotWord} ${state.ballot}${state.notes ? ` (${state.notes})` : ""}${why()}`, leads || state.role === "candidate" ? KEY : MOST, "state", state, { rank: 4 })(state.time);
      } else if (before.notes !== state.notes) {
        one(node, state.notes ? `is ${state.notes}` : "counts as usual", MOST, "state", state, { rank: 4 })(state.time);
      }
      if (!isFresh && state.committed !== before.committed) one(node, `knows to be committed: up to ${state.committed}`, MOST, "state", state, { rank: 5 })(state.time);
      before = state;
    }
  }
  const spanLevel = { down: KEY, paused: KEY, cut: KEY };
  for (const span of spans) {
    const level = spanLevel[span.kind] ?? MOST;
    const who = span.node === null ? "world" : nameOf(span.node);
    const lanes = span.node === null ? [] : [span.node];
    const words = span.kind === "cut" ? `links: ${cutWords(span.cuts)}` : span.kind;
    span.words = words;
    if (span.kind !== "down") {
      span.line = add(span.from, who, lanes, words, level, "span", span, { rank: 5 });
      if (span.until !== null) add(span.until, who, lanes, span.kind === "cut" ? "links: as before" : `no longer ${span.kind}`, level, "span", span, { rank: 5 });
    }
  }
  const momentLevel = { start: KEY, crash: KEY, mishap: KEY, Restored: MOST, SnapshotBuilt: MOST, Damaged: KEY, Room: KEY, HandOver: KEY, Scrubbed: ALL };
  for (const moment of moments) {
    const isElection = moment.kind === "Timeout" && moment.text === "Election";
    const level = isElection ? KEY : momentLevel[moment.kind] ?? ALL;
    const words = () => isElection ? "its election timer runs out" : moment.kind === "start" ? `starts: ${plain(moment.text)}` : moment.kind === "crash" ? `crashes${moment.text === "Sudden" ? "" : `, ${plain(moment.text)}`}` : `${moment.kind} ${plain(moment.text)}`;
    const isWorld = moment.node === null;
    moment.line = add(moment.time, isWorld ? "world" : nameOf(moment.node), isWorld ? [] : [moment.node], words, level, "moment", moment, { rank: moment.kind === "crash" ? 7 : 2 });
  }
  for (const request of requests) {
    const who = `client ${request.client}`;
    request.attempts.forEach((attempt, number) => {
      const again = number ? `, again (${number + 1})` : "";
      const asked = add(attempt.asked, who, ["clients", attempt.node], () => `asks ${nameOf(attempt.node)}: op ${request.op}, ${request.what}${again}`, ALL, "request", request, { rank: 2 });
      if (!number) request.line = asked;
      if (attempt.replied !== null) {
        const concerned = concernedOps.has(request.op);
        add(attempt.replied, nameOf(attempt.node), ["clients", attempt.node], () => `answers op ${request.op} (${request.what}): ${plain(attempt.reply)}`, concerned ? KEY : MOST, "request", request, { rank: 6 });
      }
    });
    if (request.ended !== null) add(request.ended, who, ["clients"], () => `is done with op ${request.op}: ${plain(request.outcome)}`, ALL, "request", request, { rank: 6 });
  }
  for (const finding of findings) {
    const more = moreWords(finding);
    finding.line = one(finding.node, `⚠ ${finding.text}${more}`, KEY, "finding", finding, { finding: true, rank: 8 })(finding.time);
  }
  if (violation) {
    violation.line = add(record.end, "oracle", nodes, `✗ ${violation.property}: ${plain(violation.details)}`, KEY, "violation", violation, { bad: true, rank: 9 });
  }
  lines.forEach((line, at) => { line.at = at; });
  lines.sort((a, b) => a.time - b.time || a.rank - b.rank || a.at - b.at);
  lines.forEach((line, at) => { line.at = at; });
  return lines;
})();

/// What a search or a filter means: a number at its end is the whole number.
const matcher = (query) => {
  const words = query.trim().toLowerCase();
  if (!words) return null;
  const quoted = words.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+");
  const pattern = new RegExp(`${/^\w/.test(words) ? "(?<![\\w@])" : ""}${quoted}${/\d$/.test(words) ? "(?!\\d)" : ""}`);
  return (line) => pattern.test(line.haystack);
};
