// The diagram, drawn anew for what is visible.

let drawn = { arrows: 0, writes: 0, requests: 0 };

const line = (pen, x1, y1, x2, y2) => { pen.moveTo(x1, y1); pen.lineTo(x2, y2); };
const hatch = (pen, x, y, width, height, colour, step = 6) => {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.beginPath();
  const left = Math.max(x, GUTTER - height), right = Math.min(x + width, size.width);
  for (let at = left - (left % step) - height; at < right; at += step) line(pen, at, y + height, at + height, y);
  pen.stroke();
  pen.restore();
};
const clipped = (from, to) => {
  const left = Math.max(xOf(from), GUTTER), right = Math.min(xOf(to), size.width);
  return [left, Math.max(right - left, 1)];
};
const cross = (pen, x, y, r) => { pen.beginPath(); line(pen, x - r, y - r, x + r, y + r); line(pen, x - r, y + r, x + r, y - r); pen.stroke(); };
const fits = (pen, words, width) => width > 24 && pen.measureText(words).width < width - 8;

const drawAxis = (pen) => {
  const steps = [1, 2, 5];
  let step = 1;
  for (let power = 0; step / perPixel() < 90; power += 1) step = steps[power % 3] * 10 ** Math.floor(power / 3);
  pen.fillStyle = colours.soft;
  pen.strokeStyle = colours.fainter;
  pen.lineWidth = 1;
  pen.textAlign = "center";
  pen.beginPath();
  const origin = violation ? record.end : 0;
  for (let time = origin + Math.ceil((view.from - origin) / step) * step; time <= view.to; time += step) {
    const x = Math.round(xOf(time)) + 0.5;
    if (x < GUTTER) continue;
    line(pen, x, AXIS, x, size.height);
    const after = (time - origin) / 1000;
    const digits = step >= 1000 ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3;
    if (x > GUTTER + 24) pen.fillText(`${after < 0 ? "−" : ""}${Math.abs(after).toFixed(digits)} ms`, x, 14);
  }
  pen.stroke();
  pen.textAlign = "left";
};

const drawLanes = (pen) => {
  pen.font = "12px system-ui, sans-serif";
  visible(spanIndex, (span) => {
    if (span.node === null) {
      const [x, width] = clipped(span.from, span.end);
      pen.fillStyle = colours["bad-soft"];
      pen.fillRect(x, lanes.links, width, 13);
      hatch(pen, x, lanes.links, width, 13, colours.bad, 8);
      pen.font = "11px system-ui, sans-serif";
      const words = pen.measureText(span.words).width;
      if (words + 10 < width) {
        pen.fillStyle = colours["bad-soft"];
        pen.fillRect(x + 2, lanes.links + 1, words + 8, 11);
        pen.fillStyle = colours.ink;
        pen.fillText(span.words, x + 6, lanes.links + 10);
      }
      return;
    }
    const y = lanes.y[span.node];
    if (!showsLane(span.node)) return;
    const [x, width] = clipped(span.from, span.end);
    if (span.kind === "down") {
      pen.fillStyle = colours.fainter;
      pen.fillRect(x, y - 10, width, 20);
      hatch(pen, x, y - 10, width, 20, colours.soft);
    } else if (span.kind !== "paused") {
      pen.fillStyle = colours["warn-soft"];
      pen.fillRect(x, y + 11, width, 9);
      hatch(pen, x, y + 11, width, 9, colours.warn, span.kind === "full disk" ? 4 : 9);
      pen.fillStyle = colours.ink;
      pen.font = "10px system-ui, sans-serif";
      if (fits(pen, span.kind, width)) pen.fillText(span.kind, x + 4, y + 41);
    }
  });
  pen.font = "11px system-ui, sans-serif";
  visible(stretchIndex, (stretch) => {
    if (!showsLane(stretch.node)) return;
    const y = lanes.y[stretch.node];
    const [x, width] = clipped(stretch.from, stretch.until);
    const half = stretch.role === "leader" ? 10 : stretch.role === "candidate" ? 7 : 4;
    pen.fillStyle = colours[`ballot-${stretch.ballot % 6}`];
    pen.fillRect(x, y - half, width, 2 * half);
    if (stretch.role === "candidate") hatch(pen, x, y - half, width, 2 * half, colours.soft, 5);
    if (stretch.role === "leader") {
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 1.4;
      pen.strokeRect(x + 0.5, y - half + 0.5, Math.max(width - 1, 0.5), 2 * half - 1);
    }
  });
  visible(spanIndex, (span) => {
    if (span.kind !== "paused" || !showsLane(span.node)) return;
    const y = lanes.y[span.node];
    const [x, width] = clipped(span.from, span.end);
    hatch(pen, x, y - 10, width, 20, colours.warn, 4);
    pen.fillStyle = colours.ink;
    if (fits(pen, "paused", width)) pen.fillText("paused", x + 5, y + 22);
  });
};

/// On top of the arrows, so that they can be read in a crowd.
const drawLabels = (pen) => {
  pen.font = "11px system-ui, sans-serif";
  pen.lineJoin = "round";
  pen.lineWidth = 3;
  visible(stretchIndex, (stretch) => {
    if (!showsLane(stretch.node)) return;
    const isFollower = stretch.role === "follower";
    const [x, width] = clipped(stretch.from, stretch.until);
    const words = `${isFollower ? "" : `${roleWord(stretch.role)}, `}${ballotWord} ${stretch.ballot}`;
    if (!fits(pen, words, width)) return;
    const y = lanes.y[stretch.node] + (isFollower ? -7 : 4);
    pen.strokeStyle = isFollower ? colours.paper : colours[`ballot-${stretch.ballot % 6}`];
    pen.strokeText(words, x + 5, y);
    pen.fillStyle = colours.ink;
    pen.fillText(words, x + 5, y);
  });
};

const drawWrites = (pen) => {
  let count = 0;
  visible(writeIndex, (write) => {
    if (!showsWrite(write)) return;
    count += 1;
    const y = lanes.y[write.node] + 12;
    const [x, width] = clipped(write.asked, write.synced ?? write.end);
    const colour = write.promise ? colours.promise : colours.write;
    pen.fillStyle = colour;
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    if (write.synced === null) pen.strokeRect(x + 0.5, y + 0.5, Math.max(width - 1, 1), 6);
    else pen.fillRect(x, y, Math.max(width, 1.5), 7);
    if (write.sworn !== null) { pen.fillStyle = colours.promise; pen.fillRect(xOf(write.sworn) - 1, y - 2, 2, 11); }
    if (write.reported !== null && write.synced !== null && write.reported > write.synced) {
      pen.globalAlpha = 0.3;
      pen.fillRect(...[xOf(write.synced), y + 2, Math.max(xOf(write.reported) - xOf(write.synced), 1), 3]);
      pen.globalAlpha = 1;
    } else if (write.reported !== null && (write.synced === null || write.reported < write.synced)) {
      // Called saved before it was on the disk.
      pen.fillStyle = colours.bad;
      pen.fillRect(xOf(write.reported) - 1, y - 3, 3, 13);
    }
    if (isConcernedWrite(write)) { pen.strokeStyle = colours.bad; pen.lineWidth = 2; pen.strokeRect(x - 1.5, y - 2.5, width + 3, 12); }
    pen.fillStyle = colours.soft;
    pen.font = "10px system-ui, sans-serif";
    if (fits(pen, write.words, width)) pen.fillText(write.words, x + 2, y + 17);
  });
  pen.fillStyle = colours.good;
  // From far away they are everywhere.
  if (perPixel() < 3000) visible(commitIndex, (state) => {
    if (!showsLane(state.node)) return;
    const x = xOf(state.time), y = lanes.y[state.node] - 11;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(x - 3, y - 5);
    pen.lineTo(x + 3, y - 5);
    pen.fill();
    if (perPixel() < 25) { pen.font = "10px system-ui, sans-serif"; pen.fillText(`${state.committed}`, x + 4, y - 1); }
  });
  return count;
};

const drawArrow = (pen, arrow, head) => {
  const x1 = xOf(arrow.sent), y1 = lanes.y[arrow.from], x2 = xOf(arrow.until), y2 = lanes.y[arrow.to];
  const isLost = arrow.fate === "lost" || arrow.fate === "cut" || arrow.fate === "unsaid";
  const share = arrow.fate === "unsaid" ? 0.15 : isLost ? 0.45 : 1;
  const [ex, ey] = [x1 + (x2 - x1) * share, y1 + (y2 - y1) * share];
  line(pen, x1, y1, ex, ey);
  if (!head || isLost || arrow.from === arrow.to) return [ex, ey];
  const angle = Math.atan2(y2 - y1, x2 - x1);
  for (const turn of [-0.4, 0.4]) line(pen, x2, y2, x2 - 7 * Math.cos(angle + turn), y2 - 7 * Math.sin(angle + turn));
  return [ex, ey];
};

const order = ["found", "forward", "reply", "replicate", "repair", "elect"];
const isGone = (arrow) => arrow.fate !== "arrived" && arrow.fate !== "underway";

/// Thousands of arrows, from far away: how many of a family cross between two lanes, column by
/// column. What takes long, and so leans, is drawn as an arrow all the same.
const drawCrowd = (pen, shown) => {
  const column = 2;
  const columns = Math.ceil(size.width / column) + 1;
  const counts = new Map(order.map((family) => [family, new Uint16Array(columns * nodes.length)]));
  const leaning = [];
  const gone = new Set();
  for (const arrow of shown) {
    const x = xOf(arrow.sent), until = xOf(arrow.until);
    if (until - x > 4 && (until < size.width || arrow.end !== null)) { leaning.push(arrow); continue; }
    const at = Math.floor(x / column);
    if (at < 0 || at >= columns) continue;
    const count = counts.get(arrow.family);
    for (let gap = Math.min(arrow.from, arrow.to); gap < Math.max(arrow.from, arrow.to); gap += 1) count[gap * columns + at] += 1;
    if (isGone(arrow)) gone.add((arrow.fate === "unheard" ? arrow.to : arrow.from) * columns + at);
  }
  for (const [family, count] of counts) {
    pen.fillStyle = colours[`kind-${family}`];
    const isRare = family === "elect" || family === "repair";
    for (let at = 0; at < count.length; at += 1) {
      if (!count[at]) continue;
      const gap = Math.floor(at / columns);
      pen.globalAlpha = isRare ? 0.5 : Math.min(0.3, 0.05 + 0.05 * Math.log2(count[at] + 1));
      pen.fillRect((at % columns) * column, lanes.y[gap], column, lanes.y[gap + 1] - lanes.y[gap]);
    }
  }
  pen.globalAlpha = 0.5;
  pen.fillStyle = colours.bad;
  for (const at of gone) pen.fillRect((at % columns) * column, lanes.y[Math.floor(at / columns)] + 22, column, 3);
  pen.globalAlpha = 1;
  return leaning;
};

const CROWD = 2500;
const shownArrows = () => {
  const shown = [];
  visible(arrowIndex, (arrow) => { if (showsArrow(arrow)) shown.push(arrow); });
  return shown;
};
const drawArrows = (pen, shown, single) => {
  const isCrowded = shown.length > CROWD;
  const crosses = [];
  for (const family of order) {
    for (const gone of [false, true]) {
      const group = single.filter((arrow) => arrow.family === family && isGone(arrow) === gone);
      if (!group.length) continue;
      pen.strokeStyle = colours[`kind-${family}`];
      pen.lineWidth = family === "elect" ? 1.5 : 1;
      pen.globalAlpha = isCrowded ? 0.35 : family === "forward" || family === "found" ? 0.55 : 0.9;
      pen.setLineDash(gone ? [4, 3] : []);
      pen.beginPath();
      for (const arrow of group) {
        const end = drawArrow(pen, arrow, !isCrowded);
        if (gone) crosses.push(end);
      }
      pen.stroke();
    }
  }
  pen.setLineDash([]);
  pen.globalAlpha = isCrowded ? 0.35 : 1;
  pen.strokeStyle = colours.bad;
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (const [x, y] of crosses) { line(pen, x - 3, y - 3, x + 3, y + 3); line(pen, x - 3, y + 3, x + 3, y - 3); }
  pen.stroke();
  pen.globalAlpha = 1;
  if (shown.length < 80 && perPixel() < 40) nameArrows(pen, shown);
};

/// From near by there is room for names, though not for all of them.
const nameArrows = (pen, shown) => {
  pen.font = "10px system-ui, sans-serif";
  const taken = [];
  for (const arrow of shown) {
    const x = xOf(arrow.sent) + (xOf(arrow.until) - xOf(arrow.sent)) * 0.3 + 4;
    const y = lanes.y[arrow.from] + (lanes.y[arrow.to] - lanes.y[arrow.from]) * 0.3;
    const width = pen.measureText(arrow.kind).width;
    if (taken.some((other) => x < other.x + other.width + 6 && other.x < x + width + 6 && Math.abs(y - other.y) < 13)) continue;
    taken.push({ x, y, width });
    pen.strokeStyle = colours.paper;
    pen.lineWidth = 3;
    pen.strokeText(arrow.kind, x, y);
    pen.fillStyle = colours[`kind-${arrow.family}`];
    pen.fillText(arrow.kind, x, y);
  }
};

const requestColour = (request) => {
  if (request.ended === null) return colours["request-none"];
  if (/^(Done|Registered)/.test(request.outcome)) return colours["request-write"];
  if (/^Seen/.test(request.outcome)) return colours["request-read"];
  return colours["request-unknown"];
};

const drawRequests = (pen) => {
  let count = 0;
  pen.font = "10px system-ui, sans-serif";
  visible(requestIndex, (request) => {
    if (!showsRequest(request)) return;
    count += 1;
    const [x, width] = clipped(request.begun, request.end);
    const y = requestY(request), height = Math.max(lanes.rowHeight - 2, 1);
    pen.fillStyle = requestColour(request);
    if (request.ended === null) {
      pen.strokeStyle = requestColour(request);
      pen.lineWidth = 1;
      pen.strokeRect(x + 0.5, y + 0.5, Math.max(width - 1, 0.5), Math.max(height - 1, 0.5));
    } else pen.fillRect(x, y, Math.max(width, 1.5), height);
    if (concernedOps.has(request.op)) { pen.strokeStyle = colours.bad; pen.lineWidth = 2; pen.strokeRect(x - 1, y - 1, Math.max(width, 1.5) + 2, height + 2); }
  });
  return count;
};

const drawMarks = (pen) => {
  visible(markIndex, (mark) => {
    if (!showsLane(mark.node)) return;
    const x = xOf(mark.time), y = lanes.y[mark.node];
    pen.lineWidth = 2.2;
    if (mark.kind === "crash") { pen.strokeStyle = colours.bad; cross(pen, x, y, 6); }
    else if (mark.kind === "start") { pen.fillStyle = colours.good; pen.beginPath(); pen.moveTo(x, y - 7); pen.lineTo(x + 9, y); pen.lineTo(x, y + 7); pen.fill(); }
    else { pen.strokeStyle = colours["kind-elect"]; pen.lineWidth = 1.5; pen.beginPath(); pen.arc(x, y, 4, 0, 7); pen.stroke(); }
  });
  visible(mishapIndex, (mark) => {
    const x = xOf(mark.time);
    pen.fillStyle = colours.warn;
    pen.beginPath();
    pen.moveTo(x, lanes.links + 13);
    pen.lineTo(x - 4, lanes.links + 19);
    pen.lineTo(x + 4, lanes.links + 19);
    pen.fill();
  });
  pen.font = "bold 13px system-ui, sans-serif";
  for (const finding of findings) {
    if (finding.time < view.from || finding.time > view.to || !showsLane(finding.node)) continue;
    pen.fillStyle = colours.warn;
    pen.fillText("⚠", xOf(finding.time) - 7, lanes.y[finding.node] - 18);
  }
};

const drawSelection = (pen) => {
  const shown = hovered && hovered !== selected ? [hovered, selected] : [selected];
  for (const one of shown) {
    if (!one) continue;
    pen.strokeStyle = colours.accent;
    pen.lineWidth = 3;
    if (one.type === "arrow") {
      pen.beginPath();
      drawArrow(pen, one.ref, true);
      pen.stroke();
    } else if (one.type === "write") {
      const [x, width] = clipped(one.ref.asked, one.ref.synced ?? one.ref.end);
      pen.strokeRect(x - 2, lanes.y[one.ref.node] + 9, width + 4, 13);
    } else if (one.type === "request") {
      const [x, width] = clipped(one.ref.begun, one.ref.end);
      const y = requestY(one.ref);
      pen.strokeRect(x - 2, y - 2, width + 4, lanes.rowHeight + 2);
      pen.lineWidth = 1.5;
      pen.beginPath();
      for (const attempt of one.ref.attempts) {
        line(pen, xOf(attempt.asked), y, xOf(attempt.reached ?? attempt.asked + 100), lanes.y[attempt.node]);
        if (attempt.replied !== null) line(pen, xOf(attempt.replied), lanes.y[attempt.node], xOf(Math.min(attempt.replied + 150, one.ref.end)), y);
      }
      pen.stroke();
    } else {
      const node = one.lanes.find((lane) => typeof lane === "number");
      if (node === undefined || one.type === "violation") continue;
      pen.beginPath();
      pen.arc(xOf(one.time), lanes.y[node], 11, 0, 7);
      pen.stroke();
    }
  }
};

const drawGutter = (pen) => {
  pen.fillStyle = colours.paper;
  pen.fillRect(0, AXIS, GUTTER, size.height);
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = colours.soft;
  pen.fillText("links", 14, lanes.links + 11);
  pen.fillStyle = showsLane("clients") ? colours.ink : colours.soft;
  pen.fillText("clients", 14, lanes.clients.top + 14);
  for (const node of nodes) {
    const y = lanes.y[node];
    const state = stateAt(node, view.cursor);
    const isNamed = concernedReplicas.has(node);
    if (isNamed) { pen.fillStyle = colours.bad; pen.fillRect(4, y - 14, 4, 30); }
    pen.font = "bold 14px system-ui, sans-serif";
    pen.fillStyle = !showsLane(node) ? colours.soft : isNamed ? colours.bad : colours.ink;
    pen.fillText(nameOf(node), 14, y + 1);
    pen.font = "10px system-ui, sans-serif";
    pen.fillStyle = colours.soft;
    pen.fillText(state ? roleWord(state.role) : "down", 14, y + 14);
  }
};

const drawTime = (pen, time, colour, width, dash) => {
  const x = xOf(time);
  if (x < GUTTER || x > size.width) return;
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.setLineDash(dash);
  pen.beginPath();
  line(pen, x, AXIS - 4, x, size.height);
  pen.stroke();
  pen.setLineDash([]);
};

const drawPicture = () => {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, size.width, size.height);
  pen.font = "11px system-ui, sans-serif";
  drawAxis(pen);
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER, AXIS - 6, size.width - GUTTER, size.height);
  pen.clip();
  const shown = shownArrows();
  const single = shown.length > CROWD ? drawCrowd(pen, shown) : shown;
  drawLanes(pen);
  drawArrows(pen, shown, single);
  drawn = { requests: drawRequests(pen), arrows: shown.length, writes: drawWrites(pen) };
  drawLabels(pen);
  drawMarks(pen);
  if (violation) {
    const x = xOf(record.end);
    pen.fillStyle = colours["bad-soft"];
    pen.globalAlpha = 0.6;
    pen.fillRect(x, AXIS, size.width, size.height);
    pen.globalAlpha = 1;
    drawTime(pen, record.end, colours.bad, 2, []);
  }
  drawSelection(pen);
  drawTime(pen, view.cursor, colours.accent, 1.2, [5, 3]);
  for (const match of matches.length > 2000 ? [] : matches) {
    if (match.time < view.from || match.time > view.to) continue;
    pen.fillStyle = colours.hit;
    pen.fillRect(xOf(match.time) - 1.5, AXIS - 5, 3, 7);
  }
  pen.restore();
  drawGutter(pen);
};
