// The whole run in a strip, with what of it is in view.

let overviewImage = null;
const paintOverview = (pen, width, height) => {
  const x = (time) => GUTTER + time / record.end * (width - GUTTER - 6);
  pen.clearRect(0, 0, width, height);
  const row = (height - 8) / nodes.length;
  const y = (node) => 4 + row * node;
  for (const stretch of stretchesOf.flat()) {
    pen.fillStyle = colours[`ballot-${stretch.ballot % 6}`];
    const tall = stretch.role === "leader" ? row - 1 : Math.max(row / 3, 1);
    pen.fillRect(x(stretch.from), y(stretch.node) + (row - tall) / 2, Math.max(x(stretch.until) - x(stretch.from), 0.5), tall);
    if (stretch.role === "leader") { pen.fillStyle = colours.soft; pen.fillRect(x(stretch.from), y(stretch.node) + row - 2, Math.max(x(stretch.until) - x(stretch.from), 0.5), 1); }
  }
  for (const span of spans) {
    if (span.kind !== "down") continue;
    pen.fillStyle = colours.soft;
    pen.globalAlpha = 0.5;
    pen.fillRect(x(span.from), y(span.node), Math.max(x(span.end) - x(span.from), 1), row - 1);
    pen.globalAlpha = 1;
  }
  pen.fillStyle = colours.bad;
  for (const span of spans) if (span.kind === "cut") pen.fillRect(x(span.from), 0, Math.max(x(span.end) - x(span.from), 1), 2.5);
  pen.fillStyle = colours.warn;
  for (const finding of findings) pen.fillRect(x(finding.time) - 1, height - 5, 3, 5);
  if (violation) { pen.fillStyle = colours.bad; pen.fillRect(x(record.end) - 1, 0, 2, height); }
  pen.fillStyle = colours.soft;
  pen.font = "11px system-ui, sans-serif";
  pen.fillText("whole run", 14, height / 2 + 4);
  return x;
};
const drawOverview = () => {
  const box = overview.getBoundingClientRect();
  const pen = overview.getContext("2d");
  if (!overviewImage || overviewImage.width !== overview.width || overviewImage.theme !== document.documentElement.dataset.theme) {
    const copy = document.createElement("canvas");
    copy.width = overview.width;
    copy.height = overview.height;
    const ratio = overview.width / box.width;
    copy.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    paintOverview(copy.getContext("2d"), box.width, box.height);
    copy.theme = document.documentElement.dataset.theme;
    overviewImage = copy;
  }
  pen.clearRect(0, 0, box.width, box.height);
  pen.drawImage(overviewImage, 0, 0, box.width, box.height);
  const x = (time) => GUTTER + time / record.end * (box.width - GUTTER - 6);
  const left = Math.max(x(view.from), GUTTER), right = Math.min(x(view.to), box.width);
  pen.fillStyle = colours.accent;
  pen.globalAlpha = 0.16;
  pen.fillRect(left, 0, Math.max(right - left, 3), box.height);
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.accent;
  pen.strokeRect(left + 0.5, 0.5, Math.max(right - left, 3), box.height - 1);
  pen.fillRect(x(view.cursor), 0, 1, box.height);
};
