// Controls, and the redrawing that they ask for: at most once per frame.

const element = (id) => document.getElementById(id);
let state = stateOf(location.hash), result = null, shown = state.steps, waiting = 0, redraws = 0, written = -Infinity;

function made(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// A slider with its label, its value in words and a hint. `read` gives the value of the state, `write` changes it.
function slider(id, { label, min, max, step, scale, hint }, read, write, say) {
  const input = made("input", { type: "range", id, min, max, step, ...(hint ? { "aria-describedby": `${id}-hint` } : {}) });
  const shows = made("span", { class: "value", "aria-hidden": "true" }); // what aria-valuetext says
  const show = () => {
    const value = read();
    if (value === null) return;
    input.value = scale.from(value);
    tell(input, shows, say(value));
  };
  input.addEventListener("input", () => {
    write(scale.to(Number(input.value)));
    schedule();
  });
  updaters.push(show);
  return made("div", { class: "dial" }, made("label", { for: id }, label), shows, input, ...(hint ? [made("p", { class: "hint", id: `${id}-hint` }, hint)] : []));
}

function tell(input, shows, text) {
  shows.textContent = text;
  input.setAttribute("aria-valuetext", text);
}

let updaters = [];
let ofOptimizers = []; // the updaters of their controls, which are made anew with them

function buildProblem() {
  const parent = element("problem");
  for (const [name, dial] of Object.entries(DIALS)) {
    if (name === "alignment") {
      parent.append(alignmentDial(dial));
      continue;
    }
    parent.append(slider(`dial-${name}`, dial, () => state.dials[name], (value) => { state.dials[name] = value; }, dial.say));
  }
  const steps = { label: "Steps", min: 0, max: STEPS.values.length - 1, step: 1, scale: STEPS };
  element("time").append(slider("dial-steps", steps, () => state.steps, (value) => { state.steps = value; }, (value) => value.toLocaleString("en")));
}

// The alignment is drawn with the start, or held at a value.
function alignmentDial(dial) {
  const box = made("input", { type: "checkbox", id: "hold" });
  const whole = slider("dial-alignment", dial, () => state.dials.alignment, (value) => { state.dials.alignment = value; }, dial.say);
  const input = whole.querySelector("input"), shows = whole.querySelector(".value");
  box.addEventListener("change", () => {
    state.dials.alignment = box.checked ? dial.scale.to(Number(input.value)) : null;
    schedule();
  });
  updaters.push(() => {
    const isHeld = state.dials.alignment !== null;
    box.checked = isHeld;
    input.disabled = !isHeld;
    if (!isHeld) input.value = 0;
    if (!isHeld) tell(input, shows, "as it is drawn");
    else if (state.dials.heterogeneity === 1) tell(input, shows, "needs unequal blocks");
  });
  whole.append(made("label", { class: "check", for: "hold" }, box, " Hold the alignment at this value"));
  return whole;
}

function buildOptimizers() {
  const parent = element("optimizers"), before = updaters;
  updaters = [];
  parent.replaceChildren(...state.optimizers.map(optimizerControls));
  ofOptimizers = updaters;
  updaters = before;
  element("add").disabled = state.optimizers.length >= PAGE.most;
}

function optimizerControls(slot, number) {
  const id = `optimizer-${number + 1}`, meta = PAGE.optimizers[slot.name];
  const select = made("select", { id, "aria-describedby": `${id}-hint` });
  for (const [name, one] of Object.entries(PAGE.optimizers)) select.append(made("option", { value: name, selected: name === slot.name }, one.own ? `${name} (your own)` : name));
  select.addEventListener("change", () => {
    state.optimizers[number] = { name: select.value, rate: 0, settings: {} };
    buildOptimizers();
    element(id).focus();
    schedule();
  });
  const remove = made("button", { type: "button", class: "small", "aria-label": `Remove optimizer ${number + 1}` }, "Remove");
  remove.disabled = state.optimizers.length === 1;
  remove.addEventListener("click", () => {
    state.optimizers.splice(number, 1);
    buildOptimizers();
    element(`optimizer-${Math.min(number, state.optimizers.length - 1) + 1}`).focus();
    schedule();
  });
  const field = made("fieldset", {}, made("legend", {}, `Optimizer ${number + 1}`),
    made("div", { class: "choice" }, made("label", { for: id, class: "hidden" }, `Optimizer ${number + 1}`), select, remove),
    made("p", { class: "hint", id: `${id}-hint` }, meta.summary));
  const sayRate = (rate) => `${result ? result.runs[number].lr : ""} = ${round3(10 ** rate)} × natural`;
  field.append(slider(`${id}-rate`, RATE, () => slot.rate, (value) => { slot.rate = value; }, sayRate));
  const rest = [];
  for (const hyper of meta.hyperparameters) {
    const read = () => slot.settings[hyper.name] ?? hyper.default, write = (value) => { slot.settings[hyper.name] = value; };
    const dial = { label: hyper.name, hint: hyper.meaning, min: 0, max: 4, step: 0.05, scale: MEMORY };
    if (isMemory(hyper)) field.append(slider(`${id}-${hyper.name}`, dial, read, write, String));
    else rest.push(numberField(`${id}-${hyper.name}`, hyper, read, write));
  }
  if (rest.length) field.append(made("details", {}, made("summary", {}, "Other settings"), ...rest));
  return field;
}

function numberField(id, hyper, read, write) {
  const input = made("input", { type: "number", id, step: "any", value: read(), "aria-describedby": `${id}-hint` });
  input.addEventListener("input", () => {
    const value = input.value === "" ? NaN : Number(input.value), isFine = isAllowed(hyper, value);
    input.setAttribute("aria-invalid", String(!isFine));
    if (!isFine) return;
    write(value);
    schedule();
  });
  return made("div", { class: "dial" }, made("label", { for: id }, hyper.name), input, made("p", { class: "hint", id: `${id}-hint` }, hyper.meaning));
}

function schedule() {
  if (!waiting) waiting = requestAnimationFrame(update);
}

function update() {
  waiting = 0;
  result = compute(state);
  if (!playing) shown = state.steps;
  for (const show of [...updaters, ...ofOptimizers]) show();
  if (performance.now() - written > 150) write(); // numbers that change faster cannot be read
  draw(); // last, as it asks for the size of canvases: one layout a frame
  settle();
}

function draw() {
  redraws++;
  drawGaps(element("gaps"), result.runs, state.steps, shown);
  for (const name of ["across", "within"]) drawContour(element(name), result[name], result.runs.map((run) => ({ ...run[name], look: run.look })), name, shown);
}

const labelOf = (slot) => [slot.name, ...Object.entries(slot.settings).map(([name, value]) => `${name}=${value}`)].join(":");

// Texts below and between the figures. What is the same as before is left as it is, which costs no layout.
function write() {
  written = performance.now();
  const { dials } = state, body = element("results").tBodies[0];
  while (body.rows.length > result.runs.length) body.deleteRow(-1);
  while (body.rows.length < result.runs.length) body.append(emptyRow());
  result.runs.forEach((run, n) => {
    const last = run.gap.at(-1) / run.gap[0], side = ({ name, curve, why }) => (curve ? name : why);
    const reached = run.hit >= 0 ? run.hit.toLocaleString("en") : run.diverged >= 0 ? `diverged at ${run.diverged.toLocaleString("en")}` : `> ${state.steps.toLocaleString("en")}`;
    const texts = [labelOf(run.slot), String(run.lr), reached, last.toExponential(1), side(run.upper), side(run.lower)];
    texts.forEach((text, k) => put(body.rows[n].cells[k], text));
  });
  writeLegend();
  put(element("across-text"), `Across blocks: two blocks of one coordinate, with the curvatures 1 and ${dials.heterogeneity}.`);
  put(element("within-text"), `Within a block: the curvatures ${round3(1 / dials.condition)} and 1, turned by ${Math.round(45 * dials.rotation)}°.`);
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const emptyRow = () => made("tr", {}, made("th", { scope: "row" }), ...["number", "number", "number", "wide", "wide"].map((name) => made("td", { class: name })));

let legend = ""; // what it shows
function writeLegend() {
  const texts = result.runs.map((run) => labelOf(run.slot)), keys = [];
  if (result.runs.some((run) => run.upper.curve)) keys.push("dashed: upper bound");
  if (result.runs.some((run) => run.lower.curve)) keys.push("dotted: lower bound");
  const now = JSON.stringify([theme.paper, texts, keys]);
  if (now === legend) return;
  legend = now;
  const entries = texts.map((text) => made("li", {}, made("canvas", { class: "swatch", "aria-hidden": "true" }), text));
  element("legend").replaceChildren(...entries, ...keys.map((text) => made("li", { class: "key" }, text)));
  element("legend").querySelectorAll("canvas").forEach((canvas, n) => drawSwatch(canvas, result.runs[n].look));
}

function pythonOf() {
  const { dials } = state, alignment = dials.alignment === null || dials.heterogeneity === 1 ? "" : `alignment=${dials.alignment}, `;
  const own = state.optimizers.some((slot) => PAGE.optimizers[slot.name].own);
  const lines = [`from quadsim.simulator import BlockQuadratic, ${own ? "load_optimizer_file, " : ""}simulate`, ""];
  if (own) lines.push(`own = {rule.name: rule for rule in load_optimizer_file(${JSON.stringify(PAGE.file)})}`);
  lines.push("problem = BlockQuadratic.generate(", `    blocks=3, block_size=3, heterogeneity=${dials.heterogeneity}, condition_number=${dials.condition},`,
    `    ${alignment}rotation=${dials.rotation}, seed=${dials.seed},`, ")");
  for (const run of result.runs) {
    const name = JSON.stringify(run.slot.name), settings = Object.entries(run.slot.settings).map(([key, value]) => `, ${key}=${value}`).join("");
    const oracle = dials.batch === "full" ? "" : `, oracle="stream:batch=${dials.batch}"`;
    lines.push(`run = simulate(problem, ${PAGE.optimizers[run.slot.name].own ? `own[${name}]` : name}, lr=${run.lr}${settings}, steps=${state.steps}${oracle})`);
  }
  return lines.join("\n");
}

// Once the dials rest: the answer in words, which a screen reader then reads, and the address.
let resting = 0;
function settle() {
  clearTimeout(resting);
  resting = setTimeout(() => {
    resting = 0;
    write();
    put(element("code"), pythonOf());
    element("answer").textContent = answer();
    history.replaceState(null, "", hashOf(state));
  }, 300);
}

function answer() {
  const of = result.runs.map((run) => {
    if (run.diverged >= 0) return `${labelOf(run.slot)} diverges after ${run.diverged.toLocaleString("en")} steps`;
    if (run.hit < 0) return `${labelOf(run.slot)} does not reach 10⁻⁶ of its first gap within ${state.steps.toLocaleString("en")} steps`;
    return `${labelOf(run.slot)} reaches 10⁻⁶ of its first gap after ${run.hit.toLocaleString("en")} steps`;
  });
  const unknown = state.unknown?.length ? ` Not on this page: ${state.unknown.join(", ")}.` : "";
  return `${of.join("; ")}.${unknown}`;
}

// Play: the steps one after the other, on a log scale of time.
const SECONDS = 6;
let playing = 0;
function play() {
  const begin = performance.now();
  const frame = (now) => {
    const share = (now - begin) / 1000 / SECONDS;
    shown = share >= 1 ? state.steps : Math.round(state.steps ** Math.max(share, 0));
    draw();
    playing = share < 1 ? requestAnimationFrame(frame) : 0;
    sayPlay();
  };
  playing = requestAnimationFrame(frame);
  sayPlay();
}

function sayPlay() {
  const text = playing ? "Stop" : "Play the steps";
  if (element("play").textContent !== text) element("play").textContent = text;
}

function begin() {
  readTheme();
  document.body.classList.toggle("small", state.small);
  buildProblem();
  buildOptimizers();
  element("add").addEventListener("click", () => {
    const taken = new Set(state.optimizers.map((slot) => slot.name));
    state.optimizers.push({ name: Object.keys(PAGE.optimizers).find((name) => !taken.has(name)), rate: 0, settings: {} });
    buildOptimizers();
    element(`optimizer-${state.optimizers.length}`).focus();
    schedule();
  });
  const restore = (next) => {
    state = next;
    buildOptimizers();
    schedule();
  };
  element("reset").addEventListener("click", () => restore({ ...initialState(), small: state.small }));
  window.addEventListener("hashchange", () => restore(stateOf(location.hash)));
  element("play").addEventListener("click", () => {
    if (!playing) return play();
    cancelAnimationFrame(playing);
    playing = 0;
    shown = state.steps;
    sayPlay();
    draw();
  });
  element("dials").addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readTheme(); schedule(); });
  new ResizeObserver(() => { if (result) draw(); }).observe(document.body);
  schedule();
  if (state.small && !matchMedia("(prefers-reduced-motion: reduce)").matches) setTimeout(play, 300); // the picture moves by itself, once
}
begin();
