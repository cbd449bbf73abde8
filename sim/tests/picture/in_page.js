// Runs in the page, as the last script of it: uses it as a person would, and leaves what went
// wrong in the document.
(() => {
  const wrong = [];
  const seen = {};
  const check = (holds, claim) => { if (!holds) wrong.push(claim); };
  const key = (name, target = document.body) => target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  const type = (id, text) => { byId(id).value = text; byId(id).dispatchEvent(new Event("input", { bubbles: true })); };
  const at = (name, x, y, more = {}) => {
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new PointerEvent(name, { clientX: box.left + x, clientY: box.top + y, pointerId: 1, bubbles: true, ...more }));
  };
  const wheel = (x, deltaY) => canvas.dispatchEvent(new WheelEvent("wheel", { clientX: canvas.getBoundingClientRect().left + x, clientY: 300, deltaY, bubbles: true, cancelable: true }));
  const inkOfLane = (node) => {
    drawPicture();
    const ratio = canvas.width / size.width;
    const pixels = canvas.getContext("2d").getImageData(GUTTER * ratio, (lanes.y[node] - 3) * ratio, (size.width - GUTTER) * ratio, 6 * ratio).data;
    let ink = 0;
    for (let pixel = 3; pixel < pixels.length; pixel += 4) if (pixels[pixel] > 0) ink += 1;
    return ink;
  };
  const shownLines = () => [...document.querySelectorAll("#story-rows .row .text")].map((line) => line.textContent);

  try {
    // What is there.
    seen.arrows = arrows.length;
    seen.moments = moments.length;
    seen.writes = writes.length;
    seen.requests = requests.length;
    seen.states = states.length;
    seen.listed = story.filter((line) => line.type === "arrow").length;
    seen.understood = arrows.filter((arrow) => arrow.said.topic !== null).length;
    seen.claims = [...new Set(arrows.map((arrow) => arrow.said.claim?.kind).filter(Boolean))];
    seen.findings = findings.map((finding) => `${nameOf(finding.node)} ${finding.sort}: ${finding.text}`);
    seen.verdict = byId("verdict").textContent;
    check(document.querySelectorAll("#filter-lanes button").length === record.replicas + 1, "a button for each lane and the clients");
    check(document.querySelectorAll("#replica-table thead th").length === record.replicas + 1, "a column for each replica");
    for (const node of nodes) check(inkOfLane(node) > 50, `lane ${node} is drawn`);
    check(document.querySelectorAll("#kinds input").length === new Set(arrows.map((arrow) => arrow.kind)).size, "a box for each kind of message");
    check(document.querySelectorAll("#legend-panel svg").length > 10, "a legend");

    // Whoever begins to lead has heard something that lets it, and a mishap says whom it strikes.
    const support = record.protocol === "vsr" ? / is primary in view \d+.* · its own log ended at \d+@\d+; reported to it: n\d+'s at \d+@\d+/ : / is leader in term \d+.* · voted for by n\d+/;
    check(!states.some((state) => state.role === "leader") || story.some((line) => line.type === "state" && support.test(` ${line.text}`)), "a leader's line says what it had heard");
    const struck = story.filter((line) => line.type === "moment" && line.ref.kind === "mishap" && /^mishap (Crash|Pause|FlipBits)$/.test(line.text));
    check(struck.every((line) => line.who !== "world"), "a mishap of one replica names it");

    // It begins at the end, and the wheel and the keys change what is in view.
    const began = { ...view };
    check(view.to > record.end && record.end - view.from <= 52_000, "it begins with the last 50 ms");
    wheel(400, -300);
    check(view.to - view.from < (began.to - began.from) * 0.8, "the wheel zooms in");
    const held = timeOf(400);
    wheel(400, 120);
    check(Math.abs(timeOf(400) - held) < 2, "zooming keeps what is under the pointer");
    key("0");
    check(view.from <= 0 && view.to >= record.end, "0 shows the whole run");
    drawPicture();
    const whole = drawn.arrows;
    check(whole === arrows.length, "the whole run has all arrows");
    const wide = view.to - view.from;
    key("+");
    check(view.to - view.from < wide, "+ zooms in");
    const left = view.from;
    key("ArrowRight");
    check(view.from > left, "the arrow keys pan");
    key("v");
    drawPicture();
    check(drawn.arrows < arrows.length || record.end < 60_000, "only what is in view is drawn");
    const before = { ...view };
    at("pointerdown", 400, 300);
    at("pointermove", 500, 300, { buttons: 1 });
    at("pointerup", 500, 300);
    check(view.from < before.from, "dragging to the right goes back in time");
    key("v");

    // Filters.
    key("0");
    const kind = arrows[arrows.length >> 1].kind;
    const box = document.querySelector(`#kinds input[data-kind="${kind}"]`);
    box.click();
    drawPicture();
    check(drawn.arrows === arrows.filter((arrow) => arrow.kind !== kind).length, "a kind that is off is not drawn");
    check(!listed.some((line) => line.type === "arrow" && line.ref.kind === kind), "nor listed");
    box.click();
    type("filter", "no such thing at all");
    drawPicture();
    check(drawn.arrows === 0 && drawn.writes === 0, "a filter that nothing matches hides everything");
    type("filter", "");
    drawPicture();
    check(drawn.arrows === arrows.length, "no filter shows everything");
    const lane = document.querySelectorAll("#filter-lanes button")[1];
    lane.click();
    drawPicture();
    check(drawn.arrows === arrows.filter((arrow) => arrow.from !== 0 && arrow.to !== 0).length, "a lane that is off takes its messages along");
    lane.click();
    const entry = entries.find((one) => one.op !== null);
    if (entry) {
      type("filter", `op ${entry.op}`);
      check(listed.length > 1 && listed.every((line) => line.type === "violation" || new RegExp(`op ${entry.op}(?!\\d)`).test(line.haystack)), "a filter for a request shows that request only");
      check(listed.some((line) => line.type === "write" || line.type === "arrow"), "with the messages and writes that carry it");
      type("filter", "");
    }

    // The list.
    document.querySelector('#levels [data-level="1"]').click();
    check(listed.length === story.length, "all lists everything");
    check(shownLines().length > 0 && shownLines().length < 200, "only what is in sight is in the document");
    document.querySelector('#levels [data-level="2"]').click();
    check(listed.length < story.length && listed.length > 0, "most lists less");
    check(story.every((line, place) => !place || story[place - 1].time <= line.time), "the list is in order of time");

    // Search.
    key("/");
    check(document.activeElement === byId("search"), "/ goes to the search");
    type("search", kind);
    check(matches.length > 0 && matches.length === story.filter((line) => line.text.toLowerCase().includes(kind.toLowerCase())).length, "the search finds all of a kind");
    byId("search-next").click();
    const first = selected;
    check(matches.includes(first), "next goes to a match");
    check(first.time >= view.from && first.time <= view.to, "which is then in view");
    byId("search-next").click();
    check(selected !== first && matches.includes(selected), "next goes on");
    byId("search-previous").click();
    check(selected === first, "previous goes back");
    check(/\d+ of \d+/.test(byId("search-count").textContent), "it is counted");
    type("search", "no such thing at all");
    check(matches.length === 0 && byId("search-count").textContent.includes("of 0"), "what is not there is not found");
    type("search", "");

    // Details, the cursor, the table of logs.
    const arrow = arrows.find((one) => one.fate === "arrived" && one.text.includes(":"));
    select(arrow.line, true);
    check(byId("details").textContent.includes(arrow.kind) && document.querySelectorAll("#details dt").length >= 3, "an arrow has details");
    check(view.cursor === arrow.end, "and the cursor goes there");
    key("j");
    check(selected !== arrow.line, "j goes to the next event");
    key("Escape");
    check(selected === null, "Escape selects nothing");
    for (const type of ["write", "state", "moment", "request", "span"]) {
      const one = story.find((line) => line.type === type);
      if (one) { select(one, true); check(document.querySelectorAll("#details dt").length > 1, `a ${type} has details`); }
    }
    setCursor(record.end);
    const rows = document.querySelectorAll("#replica-table tr").length;
    setCursor(0);
    check(document.querySelectorAll("#replica-table tr").length < rows || !entries.length, "the logs are those at the cursor");
    setCursor(record.end);
    for (const node of nodes) {
      const state = stateAt(node, record.end);
      if (state) check(lastIdOf(logAt(node, record.end)) === `${state.last_index}@${state.last_ballot}`, `the log of ${nameOf(node)} is the one that it says it has`);
    }
    const cell = document.querySelector("#replica-table td.entry");
    if (cell) { cell.click(); check(byId("details").textContent.startsWith("Entry "), "an entry has details"); }
    select(null);
    key("v");
    drawPicture();
    const target = arrows.findLast((one) => showsArrow(one) && one.fate === "arrived" && one.sent > view.from);
    if (target) {
      at("pointermove", (xOf(target.sent) + xOf(target.end)) / 2, (lanes.y[target.from] + lanes.y[target.to]) / 2);
      check(!byId("tip").hidden && byId("tip").textContent.length > 10, "hovering says what it is");
    }

    // Light and dark.
    setTheme("light");
    const paper = getComputedStyle(document.body).backgroundColor;
    key("t");
    check(getComputedStyle(document.body).backgroundColor !== paper, "t changes between light and dark");
    check(performance.getEntriesByType("resource").length === 0, "nothing is loaded");
  } catch (error) {
    wrong.push(`${error.message} ${error.stack}`);
  }
  const results = document.createElement("pre");
  results.id = "results";
  results.textContent = JSON.stringify({ wrong, seen });
  document.body.append(results);
})();
