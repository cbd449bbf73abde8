// The readable side: the verdict, the list of events, the replicas at the cursor, the details.

const byId = (id) => document.getElementById(id);
const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (name === "class") made.className = value;
    else if (name === "style") made.style.cssText = value;
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
};

const showVerdict = () => {
  const panel = byId("verdict");
  if (violation) {
    panel.append(
      element("p", { class: "property" }, `✗ ${violation.property}`),
      element("p", { class: "soft" }, violation.stated_in),
      element("p", { class: "statement" }, plain(violation.details)),
    );
  } else {
    panel.append(element("p", { class: "holds" }, "✓ Every property holds"));
  }
  if (!findings.length) return;
  const list = element("ol", { id: "findings" });
  for (const finding of findings) {
    list.append(element("li", {}, element("button", { type: "button", onclick: () => select(finding.line, true) },
      element("time", {}, clock(finding.time)), element("span", {}, `⚠ ${nameOf(finding.node)} ${finding.text}${moreWords(finding)}`))));
  }
  panel.append(element("h2", {}, "What was odd on the way, first things first"), list);
};

// The list of events. Only the lines in sight are in the document.

const ROW = 21;
let level = MOST;
let listed = [];
const listLines = () => {
  const isShown = (line) => line.level >= level || line === selected;
  const isFiltered = (line) => (!filters.test || line.passes || line.type === "violation")
    && !(line.type === "arrow" && filters.kinds.has(line.ref.kind))
    && (!line.lanes.length || line.lanes.some((lane) => !filters.lanes.has(lane)));
  listed = story.filter((line) => isShown(line) && isFiltered(line));
  byId("story-size").style.height = `${listed.length * ROW}px`;
  byId("story-count").textContent = `${listed.length} of ${story.length}`;
  for (const button of byId("levels").children) button.setAttribute("aria-pressed", String(Number(button.dataset.level) === level));
  renderRows();
};
const matched = new Set();
const renderRows = () => {
  const scroll = byId("story-scroll");
  const first = Math.max(0, Math.floor(scroll.scrollTop / ROW) - 5);
  const last = Math.min(listed.length, first + Math.ceil(scroll.clientHeight / ROW) + 10);
  const rows = byId("story-rows");
  rows.style.top = `${first * ROW}px`;
  rows.replaceChildren(...listed.slice(first, last).map((line) => {
    const kinds = ["row"];
    if (line === selected) kinds.push("selected");
    if (line.level === KEY) kinds.push("key");
    if (line.bad) kinds.push("bad");
    if (line.finding) kinds.push("finding");
    if (matched.has(line)) kinds.push("match");
    const dot = line.family ? element("span", { class: "dot", style: `background: var(--kind-${line.family})` }) : null;
    return element("div", { class: kinds.join(" "), role: "option", id: `line-${line.at}`, "aria-selected": String(line === selected), title: line.text, onclick: () => select(line, true) },
      element("time", {}, clock(line.time).replace(/ m?s$/, "")), element("span", { class: "who" }, line.who), element("span", { class: "text" }, dot ?? "", line.text));
  }));
  byId("story-scroll").setAttribute("aria-activedescendant", selected ? `line-${selected.at}` : "");
};
const positionOf = (line) => {
  let [low, high] = [0, listed.length];
  while (low < high) { const middle = (low + high) >> 1; if (listed[middle].at < line.at) low = middle + 1; else high = middle; }
  return low;
};
const scrollTo = (line) => {
  const scroll = byId("story-scroll");
  const top = positionOf(line) * ROW;
  if (top < scroll.scrollTop + ROW || top > scroll.scrollTop + scroll.clientHeight - 2 * ROW) {
    scroll.scrollTop = top - scroll.clientHeight * (line.time >= record.end ? 0.95 : 0.5);
  }
  renderRows();
};

// The replicas at the cursor.

const MOST_ENTRIES = 60;
const showReplicas = () => {
  const time = view.cursor;
  byId("cursor-time").textContent = `${clock(time)}${violation ? `  (${seconds(time)})` : ""}`;
  byId("cursor-hint").textContent = time === record.end ? "the end; click into the picture to go elsewhere" : "";
  const logs = nodes.map((node) => logAt(node, time));
  const now = nodes.map((node) => stateAt(node, time));
  const head = element("tr", {}, element("th", {}, ""), ...nodes.map((node) => {
    const state = now[node];
    const role = state ? roleWord(state.role) : "down";
    const notes = state && state.notes ? `, ${state.notes}` : "";
    const name = concernedReplicas.has(node) ? "concerned" : "";
    return element("th", { class: name, scope: "col" }, `${nameOf(node)} `, element("small", {}, state ? `${role}, ${ballotWord} ${state.ballot}${notes}` : "down; what its disk has"));
  }));
  const fact = (title, words, rule) => element("tr", { class: rule ? "fact rule" : "fact" }, element("th", { scope: "row" }, title), ...nodes.map((node) => {
    const said = words(node);
    return said instanceof Node ? element("td", {}, said) : element("td", {}, said ?? "–");
  }));
  const promise = (node) => now[node] && plain(now[node].pledge);
  const onDisk = (node) => {
    const words = plain(promiseOnDisk(node, time));
    const behind = now[node] && ballotIn(now[node].pledge) !== ballotIn(promiseOnDisk(node, time));
    return behind ? element("span", { class: "pending" }, `${words} (not yet)`) : words;
  };
  const reach = (name) => (node) => now[node] && String(now[node][name]);
  const body = [fact("promise", promise), fact("… on disk", onDisk), fact("durable to", reach("durable")), fact("committed to", reach("committed")), fact("applied to", reach("applied"), true)];

  const top = Math.max(...logs.map(lastOf), 0);
  const shown = new Set();
  for (let index = top; index > Math.max(0, top - MOST_ENTRIES); index -= 1) shown.add(index);
  for (const index of concernedIndexes) for (let near = index - 3; near <= index + 3; near += 1) if (near > 0 && near <= top) shown.add(near);
  let before = null;
  for (const index of [...shown].sort((a, b) => b - a)) {
    if (before !== null && before - index > 1) body.push(element("tr", {}, element("th", {}, "⋮")));
    before = index;
    const digests = new Set(nodes.map((node) => rowAt(logs[node], index)).filter(Boolean).map((row) => entries[row.entry].digest));
    const isCommitted = now.some((state) => state && state.committed >= index);
    const cells = nodes.map((node) => {
      const row = rowAt(logs[node], index);
      if (!row) return element("td", { class: "soft" }, index <= logs[node].base && index > 0 ? "in the snapshot" : "");
      const entry = entries[row.entry];
      const synced = isOnDisk(row.write, time);
      const state = now[node];
      const marks = `${synced ? "●" : "○"}${state && state.committed >= index ? "✓" : " "}${state && state.applied >= index ? "▪" : " "}`;
      const kinds = `cell${synced ? "" : " unsynced"}${digests.size > 1 ? isCommitted ? " contradicts" : " differs" : ""}`;
      return element("td", { class: "entry", title: `${entry.id} ${entry.label}, #${entry.digest}`, onclick: () => showEntry(row.entry) },
        element("span", { class: kinds }, element("span", { class: "marks", "aria-label": synced ? "on disk" : "not on disk" }, marks),
          element("span", { class: "ballot", style: `background: var(--ballot-${entry.ballot % 6})` }, nodes.length > 3 ? `@${entry.ballot}` : `${ballotWord} ${entry.ballot}`), element("span", { class: "what" }, nodes.length > 3 ? entry.label.replace(" sets ", " → ") : entry.label)));
    });
    body.push(element("tr", { class: concernedIndexes.has(index) ? "named" : "" }, element("th", { scope: "row" }, `${concernedIndexes.has(index) ? "✗ " : ""}${index}`), ...cells));
  }
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  const scrolled = byId("replica-table").scrollTop;
  byId("replica-table").replaceChildren(table);
  byId("replica-table").scrollTop = scrolled;
};

// Details.

/// The parts of a debug text at its top level.
const partsOf = (text) => {
  const parts = [];
  let depth = 0, part = "";
  for (const letter of text) {
    if ("([{".includes(letter)) depth += 1;
    if (")]}".includes(letter)) depth -= 1;
    if (depth === 0 && (letter === "," || letter === ";")) { parts.push(part.trim()); part = ""; } else part += letter;
  }
  if (part.trim()) parts.push(part.trim());
  return parts;
};
const linked = (text) => {
  const pieces = element("span");
  let from = 0;
  for (const found of text.matchAll(/\b\d+@\d+\b|\bop (\d+)\b/g)) {
    const entry = entries.findIndex((it) => it.id === found[0]);
    const request = found[1] && requests.find((it) => it.op === Number(found[1]));
    if (entry < 0 && !request) continue;
    pieces.append(text.slice(from, found.index), element("a", { tabindex: "0", onclick: () => request ? select(request.line, true) : showEntry(entry) }, found[0]));
    from = found.index + found[0].length;
  }
  pieces.append(text.slice(from));
  return pieces;
};
const fill = (title, pairs, note) => {
  const list = element("dl");
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(element("dt", {}, name), element("dd", {}, linked(String(value))));
  }
  byId("details").replaceChildren(element("h2", {}, title), list, ...(note ? [element("pre", {}, note)] : []));
  byId("details").scrollTop = 0;
};
const when = (time) => time === null || time === undefined ? null : `${clock(time)}${violation ? `  (${seconds(time)})` : ""}`;
const fieldsOf = (text) => partsOf(text).map((part) => {
  const named = /^([a-z_]+): ([\s\S]*)$/.exec(part);
  return named ? [named[1].replaceAll("_", " "), plain(named[2]).replace(/^(?:term|view|ballot) (\d+)$/, "$1")] : ["", plain(part)];
});

const showEntry = (ref) => {
  const entry = entries[ref];
  const life = lifeOfEntry(ref);
  const about = [["does", entry.label], ["kind", texts[entry.kind].toLowerCase()], ["name", `index ${entry.index}, ${ballotWord} ${entry.ballot}`], ["digest", `#${entry.digest}`]];
  const told = life.map(({ time, node, what }) => [`${clock(time)}`, `${nameOf(node)}: ${what}`]);
  fill(`Entry ${entry.id}`, [...about, ...told]);
};

const describe = {
  arrow: (arrow) => fill(`${arrow.kind}, ${nameOf(arrow.from)} → ${nameOf(arrow.to)}`, [
    ["sent", when(arrow.sent)],
    [arrow.fate === "arrived" ? "arrived" : "fate", arrow.fate === "arrived" ? `${when(arrow.end)}, after ${duration(arrow.end - arrow.sent)}` : fateWords[arrow.fate]],
    ["copy", arrow.copy ? "the network delivered this message twice" : null],
    ...fieldsOf(arrow.text),
  ]),
  write: (write) => fill(`Write ${write.seq} of ${nameOf(write.node)}`, [
    ["asked for", when(write.asked)],
    ["on the disk", write.synced === null ? "never, as far as the run goes: a crash may have kept it or not" : `${when(write.synced)}, after ${duration(write.synced - write.asked)}`],
    ["promise alone", when(write.sworn)],
    ["replica told", write.reported === null ? "never" : `${when(write.reported)}${write.synced === null || write.reported < write.synced ? " — before it was on the disk" : ""}`],
    ["promise", `${plain(write.pledge)}${write.promise ? " (changed by this write)" : ""}`],
    ...write.runs.map(([index, ballot, refs]) => [`behind ${index}@${ballot}`, refs.length ? refs.map((ref) => `${entries[ref].id} ${entries[ref].label}`).join("\n") : "nothing: the rest is cut off"]),
    ["repairs", write.repairs.map((ref) => entries[ref].id).join(", ")],
    ["beside", plain(write.notes)],
  ]),
  state: (state) => fill(`${nameOf(state.node)}, ${roleWord(state.role)}`, [
    ["since", when(state.time)], [ballotWord, state.ballot], ["leader", state.leader === null ? "nobody it knows of" : nameOf(state.leader)],
    ["promise", plain(state.pledge)], ["last entry", `${state.last_index}@${state.last_ballot}`], ["believes on disk", state.durable],
    ["committed", state.committed], ["applied", state.applied], ["beside", state.notes],
  ]),
  span: (span) => fill(span.words, [
    ["replica", span.node === null ? null : nameOf(span.node)], ["from", when(span.from)],
    ["until", span.until === null ? "the end" : when(span.until)], ["for", duration(span.end - span.from)],
    ["links", span.cuts ? span.cuts.map(([from, to]) => `${nameOf(from)} → ${nameOf(to)}`).join("\n") : null],
  ]),
  moment: (moment) => fill(moment.kind, [["replica", moment.node === null ? null : nameOf(moment.node)], ["at", when(moment.time)], ...fieldsOf(moment.text)]),
  request: (request) => fill(`Op ${request.op} of client ${request.client}`, [
    ["wants", request.what], ["from", when(request.begun)], ["until", request.ended === null ? "no end" : when(request.ended)],
    ["outcome", plain(request.outcome)],
    ...request.attempts.flatMap((attempt, number) => [
      [`attempt ${number + 1}`, `asks ${nameOf(attempt.node)} at ${when(attempt.asked)}`],
      ["", attempt.reached === null ? "is not heard" : `is heard at ${when(attempt.reached)}`],
      ["", attempt.replied === null ? null : `is answered at ${when(attempt.replied)}: ${plain(attempt.reply)}`],
    ]),
  ]),
  finding: (finding) => fill("Odd", [["replica", nameOf(finding.node)], ["at", when(finding.time)], ["what", finding.text], ["again", finding.more ? `${finding.more} times` : null]]),
  violation: () => fill(`✗ ${violation.property}`, [["stated in", violation.stated_in], ["at", when(record.end)], ["what", plain(violation.details)],
    ["replicas", violation.replicas.map(nameOf).join(", ")], ["entries", violation.indexes.join(", ")], ["requests", violation.ops.map((op) => `op ${op}`).join(", ")]]),
};
const showDetails = () => {
  if (selected) describe[selected.type](selected.ref);
  else fill("This run", [["protocol", record.protocol], ["seed", record.seed], ["replicas", record.replicas], ["lasted", seconds(record.end)],
    ["recorded", `${arrows.length} messages, ${writes.length} writes, ${requests.length} requests, ${moments.length} other events, ${entries.length} entries`], ["draw it with", command]], record.plan);
};
