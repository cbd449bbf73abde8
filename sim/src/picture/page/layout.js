// Where everything stands in the diagram: lanes, rows, what is in view, what is under the pointer.

const canvas = document.getElementById("picture");
const overview = document.getElementById("overview");
const view = { from: 0, to: record.end, cursor: record.end };
const filters = { test: null, kinds: new Set(), lanes: new Set() };
let selected = null;
let hovered = null;
let matches = [];
let colours = {};

const GUTTER = 76;
const AXIS = 22;
const REQUEST_ROW = 8;
const shortest = 20;

const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  colours = new Proxy({}, { get: (cache, name) => cache[name] ??= style.getPropertyValue(`--${name}`).trim() });
};

// Where things stand.

let size = { width: 1, height: 1 };
const lanes = { clients: { top: 0, bottom: 0 }, links: 0, y: [] };
/// Requests of clients, in as many rows as overlap.
const requestRows = (() => {
  const free = [];
  for (const request of requests.slice().sort(byTime("begun"))) {
    let row = free.findIndex((until) => until <= request.begun);
    if (row < 0) row = free.push(0) - 1;
    free[row] = request.end;
    request.row = row;
  }
  return Math.max(free.length, 1);
})();
requests.sort(byTime("begun"));

const layOut = () => {
  const ratio = devicePixelRatio || 1;
  for (const surface of [canvas, overview]) {
    const box = surface.getBoundingClientRect();
    surface.width = Math.max(1, Math.round(box.width * ratio));
    surface.height = Math.max(1, Math.round(box.height * ratio));
    surface.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }
  const box = canvas.getBoundingClientRect();
  size = { width: box.width, height: box.height };
  lanes.links = AXIS + 4;
  lanes.clients.top = AXIS + 22;
  const room = Math.max(40, size.height * 0.24);
  lanes.rowHeight = Math.min(REQUEST_ROW, room / requestRows);
  lanes.clients.bottom = lanes.clients.top + lanes.rowHeight * requestRows + 6;
  const rest = size.height - lanes.clients.bottom;
  lanes.y = nodes.map((node) => lanes.clients.bottom + rest * (node + 0.5) / nodes.length - 6);
};

const xOf = (time) => GUTTER + (time - view.from) / (view.to - view.from) * (size.width - GUTTER);
const timeOf = (x) => view.from + (x - GUTTER) / (size.width - GUTTER) * (view.to - view.from);
const perPixel = () => (view.to - view.from) / (size.width - GUTTER);

const setView = (from, to) => {
  const most = record.end * 1.04 + 1000;
  let span = Math.min(Math.max(to - from, shortest), most);
  if (!(span > 0)) span = most;
  const start = Math.min(Math.max(from, -most * 0.02), most - span);
  view.from = start;
  view.to = start + span;
};
const zoom = (factor, around = (view.from + view.to) / 2) => {
  const span = Math.max((view.to - view.from) * factor, shortest);
  const share = (around - view.from) / (view.to - view.from);
  setView(around - share * span, around - share * span + span);
};
const pan = (share) => { const by = (view.to - view.from) * share; setView(view.from + by, view.to + by); };
const reveal = (time) => {
  const span = view.to - view.from;
  if (time < view.from + span * 0.06 || time > view.to - span * 0.06) setView(time - span / 2, time + span / 2);
};

// What is visible: rows that begin before the end of the view and end behind its beginning. Blocks
// remember their latest end, so that the few which last long do not make all of them be looked at.

const BLOCK = 128;
const indexed = (rows, from, to) => {
  const ends = [];
  rows.forEach((row, at) => { const block = Math.floor(at / BLOCK); ends[block] = Math.max(ends[block] ?? 0, row[to]); });
  return { rows, from, to, ends };
};
const visible = ({ rows, from, to, ends }, take) => {
  const last = lastAt(rows, view.to, from);
  for (let block = 0; block * BLOCK <= last; block += 1) {
    if (ends[block] < view.from) continue;
    const end = Math.min(last, block * BLOCK + BLOCK - 1);
    for (let at = block * BLOCK; at <= end; at += 1) if (rows[at][to] >= view.from) take(rows[at]);
  }
};
for (const write of writes) {
  const crash = downOf[write.node].find((span) => span.from >= write.asked);
  const lostAt = crash ? crash.from : record.end;
  write.end = Math.max(write.synced ?? lostAt, write.reported ?? 0);
}
const arrowIndex = indexed(arrows, "sent", "until");
const writeIndex = indexed(writes.slice().sort(byTime("asked")), "asked", "end");
const requestIndex = indexed(requests, "begun", "end");
const spanIndex = indexed(spans.slice().sort(byTime("from")), "from", "end");
const stretchIndex = indexed(stretchesOf.flat().sort(byTime("from")), "from", "until");
const commits = nodes.flatMap((node) => statesOf[node].filter((state, at) => at && state.committed > statesOf[node][at - 1].committed)).sort(byTime("time"));
const commitIndex = indexed(commits, "time", "time");
const marks = moments.filter((moment) => moment.kind === "start" || moment.kind === "crash" || (moment.kind === "Timeout" && moment.text === "Election"));
const markIndex = indexed(marks, "time", "time");
const mishapIndex = indexed(moments.filter((moment) => moment.kind === "mishap"), "time", "time");

const showsLane = (lane) => !filters.lanes.has(lane);
const showsArrow = (arrow) => !filters.kinds.has(arrow.kind) && showsLane(arrow.from) && showsLane(arrow.to) && (!filters.test || arrow.line.passes);
const showsWrite = (write) => showsLane(write.node) && (!filters.test || write.line.passes);
const showsRequest = (request) => showsLane("clients") && (!filters.test || request.line.passes);
const isConcernedWrite = (write) => concernedReplicas.has(write.node) && write.entries.some((entry) => concernedIndexes.has(entries[entry].index));

const requestY = (request) => lanes.clients.top + 3 + request.row * lanes.rowHeight;

// What is under the pointer.

const distance = (px, py, x1, y1, x2, y2) => {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const along = Math.min(1, Math.max(0, ((px - x1) * dx + (py - y1) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(px - x1 - along * dx, py - y1 - along * dy);
};
const lineAt = (x, y) => {
  if (x < GUTTER) return null;
  let best = null, nearest = 7;
  const offer = (found, away) => { if (found && away < nearest) [best, nearest] = [found, away]; };
  for (const finding of findings) offer(finding.line, Math.hypot(x - xOf(finding.time), y - lanes.y[finding.node] + 22) - 4);
  visible(markIndex, (mark) => offer(mark.line, Math.hypot(x - xOf(mark.time), y - lanes.y[mark.node]) - 3));
  visible(mishapIndex, (mark) => offer(mark.line, Math.hypot(x - xOf(mark.time), y - lanes.links - 17)));
  visible(writeIndex, (write) => {
    const top = lanes.y[write.node] + 10;
    if (y >= top && y <= top + 12 && x >= xOf(write.asked) - 2 && x <= xOf(write.synced ?? write.end) + 2 && showsWrite(write)) offer(write.line, 0.5);
  });
  visible(requestIndex, (request) => {
    const top = requestY(request);
    if (y >= top - 1 && y <= top + lanes.rowHeight - 1 && x >= xOf(request.begun) - 2 && x <= xOf(request.end) + 2 && showsRequest(request)) offer(request.line, 0.4);
  });
  if (nearest < 1) return best;
  visible(arrowIndex, (arrow) => {
    if (!showsArrow(arrow)) return;
    offer(arrow.line, distance(x, y, xOf(arrow.sent), lanes.y[arrow.from], xOf(arrow.until), lanes.y[arrow.to]));
  });
  if (best) return best;
  visible(spanIndex, (span) => {
    const inLinks = span.node === null && y >= lanes.links && y <= lanes.links + 13;
    const inLane = span.node !== null && Math.abs(y - lanes.y[span.node] - 5) < 16;
    if ((inLinks || inLane) && x >= xOf(span.from) && x <= xOf(span.end)) offer(span.line, 6);
  });
  return best;
};
