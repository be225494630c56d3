// Drawing on canvases: sizes in CSS pixels, colours of the page's theme.

const DECADES = [2, -10]; // of gap_t / gap_0, from the top down
let theme = {};

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  theme = Object.fromEntries(["paper", "ink", "soft", "line", "card"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  theme.font = `12px ${getComputedStyle(document.body).fontFamily}`;
}

// A context whose unit is a CSS pixel, on a canvas that is as sharp as the screen.
function prepared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = theme.font;
  context.lineJoin = context.lineCap = "round";
  return { context, width, height };
}

function luminance(color) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// Colours of optimizers are the same in every figure; one that is faint on this paper gets an outline in the colour of the text.
function isFaint(color) {
  const [low, high] = [luminance(color), luminance(theme.paper)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05) < 3;
}

function stroke(context, look, width, dash = look.dash) {
  if (isFaint(look.color)) {
    context.setLineDash([]);
    context.globalAlpha *= 0.45;
    context.strokeStyle = theme.ink;
    context.lineWidth = width + 1.5;
    if (!dash.length) context.stroke();
    context.globalAlpha /= 0.45;
  }
  context.setLineDash(dash.map((value) => value * width));
  context.strokeStyle = look.color;
  context.lineWidth = width;
  context.stroke();
  context.setLineDash([]);
}

function drawMarker(context, look, x, y, size) {
  context.beginPath();
  for (const polygon of look.marker) {
    polygon.forEach(([px, py], k) => (k ? context.lineTo(x + px * size, y - py * size) : context.moveTo(x + px * size, y - py * size)));
    context.closePath();
  }
  context.fillStyle = look.color;
  context.fill();
  context.strokeStyle = isFaint(look.color) ? theme.ink : theme.paper;
  context.lineWidth = 1;
  context.stroke();
}

function powerText(exponent) {
  return "10" + [...String(exponent)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])).join("");
}

// Multiples of a round number from 0 to `last`, at most `most` of them.
function ticks(last, most) {
  const raw = last / most, decade = 10 ** Math.floor(Math.log10(raw));
  const by = [1, 2, 5, 10].map((k) => k * decade).find((value) => value >= raw);
  return Array.from({ length: Math.floor(last / by + 1e-9) + 1 }, (_, k) => k * by);
}

// The gap of every run and its bounds over steps; `shown` is the last step that is drawn.
function drawGaps(canvas, runs, steps, shown) {
  const { context, width, height } = prepared(canvas), [top, bottom] = DECADES;
  const left = 46, right = width - 12, high = 10, low = height - 34;
  const X = (t) => left + ((right - left) * t) / steps;
  const Y = (value) => high + ((low - high) * (top - Math.min(Math.max(Math.log10(value), bottom - 2), top + 2))) / (top - bottom);
  context.fillStyle = theme.soft;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let k = top; k >= bottom; k -= height < 260 ? 4 : 2) {
    line(context, [[left, Y(10 ** k)], [right, Y(10 ** k)]], theme.line);
    context.fillText(powerText(k), left - 6, Y(10 ** k));
  }
  context.textBaseline = "top";
  for (const t of ticks(steps, width < 500 ? 4 : 8)) {
    context.textAlign = t === steps ? "right" : "center";
    context.fillText(t.toLocaleString("en"), t === steps ? right : X(t), low + 5);
  }
  context.textAlign = "right";
  context.fillText("step", right, low + 19);
  context.textAlign = "left";
  context.fillText("gap over gap at the start, log scale", left, low + 19);
  line(context, [[left, Y(PAGE.tolerance)], [right, Y(PAGE.tolerance)]], theme.soft, [2, 4]);
  context.save();
  context.beginPath();
  context.rect(left, high - 4, right - left + 6, low - high + 4);
  context.clip();
  for (const run of runs) {
    for (const [curve, dash] of [[run.upper.curve, [4, 3]], [run.lower.curve, [0.6, 2.6]]]) {
      if (!curve) continue;
      context.globalAlpha = 0.85;
      trace(context, curve, run.gap[0], shown, X, Y);
      stroke(context, run.look, 1.5, dash);
      context.globalAlpha = 1;
    }
  }
  for (const run of runs) {
    const last = Math.min(shown, run.gap.length - 1);
    trace(context, run.gap, run.gap[0], last, X, Y);
    stroke(context, run.look, 2);
    for (let k = 0; k < 8; k++) {
      const t = Math.round((steps * (k + run.offset)) / 8);
      if (t < last) drawMarker(context, run.look, X(t), Y(run.gap[t] / run.gap[0]), 4.5);
    }
    drawMarker(context, run.look, X(last), Y(run.gap[last] / run.gap[0]), 6);
  }
  context.restore();
}

function line(context, points, color, dash = []) {
  context.setLineDash(dash);
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.beginPath();
  points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
  context.setLineDash([]);
}

// Add points to a path, without those that a straight line passes within a quarter of a pixel: most of a smooth curve.
// The line starts at the last point that was added; every point that is left out narrows the slopes that it may have.
function simplified(context, x, y) {
  let from = [x, y], end = null, low = -Infinity, high = Infinity;
  const narrow = (nextX, nextY) => {
    const dx = nextX - from[0];
    low = Math.max(low, (nextY - 0.25 - from[1]) / dx);
    high = Math.min(high, (nextY + 0.25 - from[1]) / dx);
    end = [nextX, nextY];
  };
  const finish = () => {
    if (end) context.lineTo(...end);
  };
  const add = (nextX, nextY) => {
    const dx = nextX - from[0], slope = (nextY - from[1]) / dx;
    if (dx > 0 && slope >= low && slope <= high) return narrow(nextX, nextY);
    finish();
    if (end) from = end;
    [low, high, end] = [-Infinity, Infinity, [nextX, nextY]];
    if (nextX > from[0]) return narrow(nextX, nextY);
    finish();
    [from, end] = [end, null];
  };
  context.moveTo(x, y);
  return { add, finish };
}

// The path of a curve. Of all steps that fall on one column of pixels only the largest and the smallest value are drawn.
function trace(context, values, scale, last, X, Y) {
  context.beginPath();
  const { add, finish } = simplified(context, X(0), Y(values[0] / scale));
  for (let t = 1; t <= last; ) {
    const column = Math.floor(X(t));
    let smallest = Infinity, largest = -Infinity, end = t;
    for (; end <= last && Math.floor(X(end)) === column; end++) {
      smallest = Math.min(smallest, values[end]);
      largest = Math.max(largest, values[end]);
    }
    if (end - t < 3) {
      for (; t < end; t++) add(X(t), Y(values[t] / scale));
    } else {
      add(X(t), Y(values[t] / scale));
      add(column + 0.5, Y(largest / scale));
      add(column + 0.5, Y(smallest / scale));
      add(X(end - 1), Y(values[end - 1] / scale));
      t = end;
    }
  }
  finish();
}

// Level lines of a problem of two coordinates, and the path of every run.
function drawContour(canvas, problem, runs, names, shown) {
  const { context, width, height } = prepared(canvas), side = Math.min(width, height), middle = side / 2;
  const reach = 1.3 * Math.max(...problem.start.map(Math.abs)), unit = middle / reach;
  const X = (e) => width / 2 + e * unit, Y = (e) => height / 2 - e * unit;
  context.save();
  context.beginPath();
  context.rect(width / 2 - middle, height / 2 - middle, side, side);
  context.clip();
  const [a, b] = problem.spectra.flat(), V = problem.vectors.length === 2 ? [1, 0, 0, 1] : problem.vectors[0];
  for (let k = -14; k <= 10; k++) {
    const level = problem.gap0 * 3 ** -k, p = Math.sqrt((2 * level) / a) * unit, q = Math.sqrt((2 * level) / b) * unit;
    context.beginPath();
    context.ellipse(width / 2, height / 2, p, q, -Math.atan2(V[2], V[0]), 0, 2 * Math.PI);
    context.strokeStyle = theme.soft;
    context.globalAlpha = 0.35;
    context.lineWidth = 1;
    if (Math.max(p, q) > 2) context.stroke();
    context.globalAlpha = 1;
  }
  for (const run of runs) {
    const last = Math.min(shown, run.gap.length - 1), at = (t) => [clamp(X(run.path[2 * t])), clamp(Y(run.path[2 * t + 1]))];
    context.beginPath();
    let [x, y] = at(0);
    context.moveTo(x, y);
    for (let t = 1; t <= last; t++) {
      const [nextX, nextY] = at(t);
      if (Math.abs(nextX - x) + Math.abs(nextY - y) < 0.5 && t < last) continue; // less than what a screen shows
      context.lineTo((x = nextX), (y = nextY));
    }
    context.globalAlpha = 0.85;
    stroke(context, run.look, 1.5);
    context.globalAlpha = 1;
    for (let t = 1; t < last; t = Math.ceil(t * 1.6)) drawMarker(context, run.look, ...at(t), 3.5);
    drawMarker(context, run.look, ...at(last), 5.5);
  }
  context.restore();
  for (const d of [[5, 0], [0, 5]]) line(context, [[width / 2 - d[0], height / 2 - d[1]], [width / 2 + d[0], height / 2 + d[1]]], theme.ink);
  context.strokeStyle = theme.line;
  context.strokeRect(width / 2 - middle + 0.5, height / 2 - middle + 0.5, side - 1, side - 1);
}

const clamp = (value) => Math.min(Math.max(value, -1e5), 1e5);

function drawSwatch(canvas, look) {
  const { context, width, height } = prepared(canvas);
  context.beginPath();
  context.moveTo(2, height / 2);
  context.lineTo(width - 2, height / 2);
  stroke(context, look, 2);
  drawMarker(context, look, width / 2, height / 2, 5);
}
