// The way about: keys, pointer, filters, search.

let isDirty = false;
const refresh = () => {
  if (isDirty) return;
  isDirty = true;
  requestAnimationFrame(() => { isDirty = false; drawPicture(); drawOverview(); });
};
const setCursor = (time) => {
  view.cursor = Math.min(Math.max(Math.round(time), 0), record.end);
  showReplicas();
  refresh();
};
const select = (found, moves) => {
  selected = found;
  if (found) {
    if (found.level < level && !listed.includes(found)) listLines();
    if (moves) reveal(found.time);
    setCursor(found.time);
    scrollTo(found);
  } else renderRows();
  showDetails();
  refresh();
};
const step = (by) => {
  if (!listed.length) return;
  const at = selected ? positionOf(selected) : listed.findIndex((one) => one.time >= view.cursor);
  const next = selected ? at + by : at < 0 ? listed.length - 1 : at;
  select(listed[Math.min(Math.max(next, 0), listed.length - 1)], true);
};

const END_MICROS = 50_000;
const showEnd = () => setView(record.end - Math.min(END_MICROS, record.end), record.end + Math.min(END_MICROS, record.end) * 0.04);
const showAll = () => setView(-record.end * 0.01, record.end * 1.01);

// Search and filters.

const find = (query) => {
  const test = matcher(query);
  matches = test ? story.filter(test) : [];
  matched.clear();
  matches.forEach((match) => matched.add(match));
  showCount();
  renderRows();
  refresh();
};
const showCount = () => {
  const at = selected ? matches.indexOf(selected) : -1;
  byId("search-count").textContent = byId("search").value.trim() ? `${at < 0 ? "–" : at + 1} of ${matches.length}` : "";
};
const findNext = (by) => {
  if (!matches.length) return;
  const from = selected ? selected.at : lastAt(story, view.cursor);
  const later = matches.findIndex((match) => match.at > from);
  let at = by > 0 ? later : (later < 0 ? matches.length : later) - 1;
  if (by < 0 && matches[at] === selected) at -= 1;
  if (at < 0) at = by > 0 ? 0 : matches.length - 1;
  select(matches[at], true);
  showCount();
};
const applyFilters = () => {
  filters.test = matcher(byId("filter").value);
  // Once, and not whenever something is drawn.
  if (filters.test) for (const line of story) line.passes = filters.test(line);
  listLines();
  if (selected) scrollTo(selected);
  refresh();
};

const kindsByNumber = (() => {
  const kinds = new Map();
  for (const { kind, family } of arrows) {
    if (!kinds.has(kind)) kinds.set(kind, { kind, family, count: 0 });
    kinds.get(kind).count += 1;
  }
  return [...kinds.values()].sort((a, b) => b.count - a.count);
})();
const buildKinds = () => {
  const panel = byId("kinds");
  const boxes = kindsByNumber.map(({ kind, family, count }) => {
    const box = element("input", { type: "checkbox", "data-kind": kind });
    box.checked = true;
    box.addEventListener("change", () => { if (box.checked) filters.kinds.delete(kind); else filters.kinds.add(kind); applyFilters(); });
    panel.append(element("label", {}, box, element("i", { style: `background: var(--kind-${family})` }), element("b", {}, kind), element("small", {}, String(count))));
    return box;
  });
  const all = (on) => () => { for (const box of boxes) { box.checked = on; if (on) filters.kinds.delete(box.dataset.kind); else filters.kinds.add(box.dataset.kind); } applyFilters(); };
  panel.prepend(element("p", { class: "chips" }, element("button", { type: "button", onclick: all(true) }, "all"), element("button", { type: "button", onclick: all(false) }, "none")));
};
const buildLanes = () => {
  for (const lane of ["clients", ...nodes]) {
    const button = element("button", { type: "button", "aria-pressed": "true", onclick: () => {
      if (!filters.lanes.delete(lane)) filters.lanes.add(lane);
      button.setAttribute("aria-pressed", String(!filters.lanes.has(lane)));
      applyFilters();
    } }, lane === "clients" ? "clients" : nameOf(lane));
    byId("filter-lanes").append(button);
  }
};
const buildLegend = () => {
  const swatch = (drawing) => {
    const made = element("span");
    made.innerHTML = `<svg width="70" height="18" aria-hidden="true">${drawing}</svg>`;
    return made;
  };
  const arrow = (family) => `<line x1="4" y1="9" x2="62" y2="9" stroke="var(--kind-${family})" stroke-width="2"/><path d="M56 5l7 4-7 4" fill="none" stroke="var(--kind-${family})" stroke-width="2"/>`;
  const stripes = (colour) => `<path d="M4 17L18 1M14 17L28 1M24 17L38 1M34 17L48 1M44 17L58 1" stroke="var(--${colour})"/>`;
  const named = [["replicate", "entries and heartbeats"], ["reply", "acknowledgements"], ["elect", record.words.elections], ["repair", "snapshots, state transfer, repair"], ["forward", "requests between replicas"], ["found", "founding of the cluster"]];
  const used = new Set(arrows.map((it) => it.family));
  const lines = [
    [`<rect x="4" y="1" width="60" height="16" fill="var(--ballot-0)" stroke="var(--ink)" stroke-width="1.4"/>`, `${leaderWord}; each ${ballotWord} has a colour`],
    [`<rect x="4" y="3" width="60" height="12" fill="var(--ballot-1)"/>${stripes("soft")}`, roleWord("candidate")],
    [`<rect x="4" y="6" width="60" height="7" fill="var(--ballot-2)"/>`, roleWord("follower")],
    [`<rect x="4" y="1" width="60" height="16" fill="var(--fainter)"/>${stripes("soft")}<path d="M4 4l10 10M4 14L14 4" stroke="var(--bad)" stroke-width="2"/><path d="M56 3l9 6-9 6" fill="var(--good)"/>`, "crash, down, start"],
    ...named.filter(([family]) => used.has(family)).map(([family, words]) => [arrow(family), words]),
    [`<line x1="4" y1="9" x2="34" y2="9" stroke="var(--kind-replicate)" stroke-dasharray="4 3" stroke-width="2"/><path d="M33 5l8 8M33 13l8-8" stroke="var(--bad)" stroke-width="2"/>`, "lost: on the way, or at a replica that is down"],
    [`<rect x="6" y="5" width="26" height="7" fill="var(--write)"/><rect x="32" y="7" width="24" height="3" fill="var(--write)" opacity=".3"/>`, "a write until it is on the disk; then until the replica is told"],
    [`<rect x="6" y="5" width="30" height="7" fill="var(--promise)"/>`, `a write with a new promise (${record.words.promise})`],
    [`<rect x="6" y="5" width="30" height="7" fill="none" stroke="var(--write)"/><rect x="20" y="2" width="3" height="13" fill="var(--bad)"/>`, "a write that never reached the disk; red: called saved before it was"],
    [`<path d="M30 12l-4-7h8z" fill="var(--good)"/>`, "learns that more is committed, up to this index"],
    [`<circle cx="30" cy="9" r="4" fill="none" stroke="var(--kind-elect)" stroke-width="1.5"/>`, "its election timer runs out"],
    [`<rect x="4" y="2" width="60" height="14" fill="var(--bad-soft)"/>${stripes("bad")}`, "links are cut (in the row “links”); ▴ there: a mishap"],
    [`<rect x="4" y="5" width="60" height="9" fill="var(--warn-soft)"/>${stripes("warn")}`, "slow, stalled or full disk (below the lane); paused (on it)"],
    [`<rect x="4" y="2" width="26" height="6" fill="var(--request-write)"/><rect x="34" y="2" width="26" height="6" fill="var(--request-read)"/><rect x="4" y="11" width="26" height="6" fill="var(--request-unknown)"/><rect x="34.5" y="11.5" width="25" height="5" fill="none" stroke="var(--request-none)"/>`, "requests: write done, read answered, unknown or refused, no end"],
    [`<text x="24" y="14" fill="var(--warn)" font-size="14">⚠</text>`, "odd, in whichever protocol"],
    [`<line x1="30" y1="0" x2="30" y2="18" stroke="var(--bad)" stroke-width="2"/>`, "a property is violated"],
    [`<text x="4" y="14" fill="var(--ink)" font-size="12">● ○ ✓ ▪</text>`, "in the table of logs: on disk, not on disk, known to be committed, applied; a dashed frame: replicas differ, a red one: where one of them has committed"],
  ];
  for (const [drawing, words] of lines) byId("legend-panel").append(swatch(drawing), element("span", {}, words));
};

// Pointer.

const stage = byId("stage");
const tip = byId("tip");
const hover = (event) => {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const found = lineAt(x, y);
  if (found !== hovered) { hovered = found; refresh(); }
  tip.hidden = !found;
  if (!found) return;
  tip.replaceChildren(element("b", {}, `${clock(found.time)}  ${found.who}`), element("span", {}, found.text.slice(0, 400)));
  tip.style.left = `${Math.min(x + 14, size.width - tip.offsetWidth - 8)}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > size.height ? Math.max(4, y - tip.offsetHeight - 12) : y + 18}px`;
};
const listen = () => {
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, from: view.from, to: view.to, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) { hover(event); return; }
    const by = event.clientX - drag.x;
    if (Math.abs(by) > 3) drag.moved = true;
    if (!drag.moved) return;
    canvas.classList.add("dragging");
    tip.hidden = true;
    const share = by / (size.width - GUTTER) * (drag.to - drag.from);
    setView(drag.from - share, drag.to - share);
    refresh();
  });
  canvas.addEventListener("pointerup", (event) => {
    const wasDrag = drag && drag.moved;
    drag = null;
    canvas.classList.remove("dragging");
    if (wasDrag) return;
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const found = lineAt(x, y);
    if (found) select(found, false);
    else if (x > GUTTER) { select(null); setCursor(timeOf(x)); }
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; if (hovered) { hovered = null; refresh(); } });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 30 : 1;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) * unit / size.width);
    else zoom(Math.exp(event.deltaY * unit * 0.0022), timeOf(event.clientX - canvas.getBoundingClientRect().left));
    refresh();
  }, { passive: false });

  const go = (event) => {
    const box = overview.getBoundingClientRect();
    const time = (event.clientX - box.left - GUTTER) / (box.width - GUTTER - 6) * record.end;
    const half = Math.min(view.to - view.from, record.end) / 2;
    setView(time - half, time + half);
    refresh();
  };
  overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); go(event); });
  overview.addEventListener("pointermove", (event) => { if (event.buttons) go(event); });
  byId("divider").addEventListener("pointerdown", (event) => byId("divider").setPointerCapture(event.pointerId));
  byId("divider").addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    const bottom = byId("left").getBoundingClientRect().bottom;
    byId("replicas").style.height = `${Math.min(Math.max(bottom - event.clientY, 90), bottom - 260)}px`;
    resize();
  });

  byId("story-scroll").addEventListener("scroll", renderRows);
  for (const button of byId("levels").children) button.addEventListener("click", () => { level = Number(button.dataset.level); listLines(); if (selected) scrollTo(selected); });
  byId("search").addEventListener("input", () => find(byId("search").value));
  byId("search").addEventListener("keydown", (event) => { if (event.key === "Enter") findNext(event.shiftKey ? -1 : 1); });
  byId("search-next").addEventListener("click", () => findNext(1));
  byId("search-previous").addEventListener("click", () => findNext(-1));
  byId("filter").addEventListener("input", applyFilters);
  byId("view-end").addEventListener("click", () => { showEnd(); refresh(); });
  byId("view-all").addEventListener("click", () => { showAll(); refresh(); });
  byId("zoom-in").addEventListener("click", () => { zoom(0.5); refresh(); });
  byId("zoom-out").addEventListener("click", () => { zoom(2); refresh(); });
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  byId("help").addEventListener("click", () => byId("help-panel").showModal());
  document.addEventListener("click", (event) => { for (const popup of document.querySelectorAll("#filters details[open]")) if (!popup.contains(event.target)) popup.open = false; });
  document.addEventListener("keydown", onKey);
  addEventListener("resize", resize);
};

const keys = {
  "+": () => zoom(0.7, view.cursor >= view.from && view.cursor <= view.to ? view.cursor : undefined), "=": () => keys["+"](),
  "-": () => zoom(1 / 0.7, view.cursor >= view.from && view.cursor <= view.to ? view.cursor : undefined),
  ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
  Home: () => { const span = view.to - view.from; setView(0, span); }, End: () => { const span = view.to - view.from; setView(record.end - span * 0.96, record.end + span * 0.04); },
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  n: () => findNext(1), N: () => findNext(-1), v: showEnd, 0: showAll,
  t: () => byId("theme").click(), "?": () => byId("help").click(),
  "/": () => byId("search").focus(), f: () => byId("filter").focus(),
  Enter: () => { if (selected) byId("details").scrollIntoView({ block: "nearest" }); else step(0); },
  Escape: () => select(null),
};
const onKey = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("input, summary, button");
  if (isTyping && event.key === "Escape") { event.target.blur(); return; }
  if (isTyping && (event.target.matches("input") || event.key === "Enter" || event.key === " ")) return;
  if (byId("help-panel").open) return;
  if (event.target.id === "replica-table" && event.key.startsWith("Arrow")) return;
  const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
  if (!act) return;
  event.preventDefault();
  act();
  refresh();
};

const setTheme = (theme) => {
  document.documentElement.dataset.theme = theme;
  readColours();
  refresh();
};
const resize = () => { layOut(); renderRows(); refresh(); };

byId("title").textContent = `${record.protocol}, seed ${record.seed}`;
byId("summary").textContent = `${record.replicas} replicas, ${seconds(record.end)}, ${arrows.length} messages. ${violation ? "Times count back from the violation." : "Times count from the start."}`;
byId("story-unit").textContent = violation ? "ms before the end" : "s";
byId("view-end").textContent = violation ? "before the violation" : "the end";
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
buildLanes();
buildKinds();
buildLegend();
showVerdict();
layOut();
showEnd();
listLines();
listen();
setCursor(record.end);
showDetails();
byId("story-scroll").scrollTop = listed.length * ROW;
renderRows();
