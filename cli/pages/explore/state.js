// What a view shows, as an object and as the part of the address after #, by which a view is shared. With view=small there, only
// the curves and three dials are shown, as a figure within another page.

const round3 = (value) => Number(value.toPrecision(3));
const POWER = { from: Math.log10, to: (x) => round3(10 ** x) };
const SAME = { from: (value) => value, to: (x) => Number(x.toFixed(4)) };
const listed = (values) => ({ from: (value) => values.indexOf(value), to: (x) => values[x], values });
// A memory beta in [0, 1): equal ways of the slider divide 1 - beta by equal factors.
const MEMORY = { from: (value) => -Math.log10(1 - value), to: (x) => Number((1 - 10 ** -x).toFixed(5)) };

const BATCHES = listed([1, 2, 4, 8, 16, 32, "full"]), STEPS = listed([50, 100, 200, 500, 1000, 2000]);
const DIALS = {
  heterogeneity: { label: "Heterogeneity of the blocks", unset: 100, min: 0, max: 3, step: 0.05, scale: POWER, say: (v) => `${v} : 1`,
    hint: "the largest curvature of the stiffest block over that of the softest one" },
  condition: { label: "Condition number of each block", unset: 3, min: 0, max: 3, step: 0.05, scale: POWER, say: (v) => `${v}`,
    hint: "the largest over the smallest curvature within a block" },
  rotation: { label: "Rotation of the eigenvectors", unset: 1, min: 0, max: 1, step: 0.05, scale: SAME, say: (v) => (v === 0 ? "0, on the axes" : v === 1 ? "1, random" : `${v}`),
    hint: "0: every eigenvector lies on a coordinate axis; 1: a random rotation of each block" },
  alignment: { label: "Alignment of gradient and curvature", unset: null, min: -1, max: 1, step: 0.1, scale: SAME, say: (v) => `${v}`,
    hint: "the correlation, over the blocks, of the logarithms of curvature and gradient size at the start" },
  batch: { label: "Batch", unset: "full", min: 0, max: 6, step: 1, scale: BATCHES, say: (v) => (v === "full" ? "full gradient" : v === 1 ? "1 sample" : `${v} samples`),
    hint: "fresh samples of least squares in every step; bounds are for the full gradient" },
  seed: { label: "Draw of the problem", unset: 0, min: 0, max: 50, step: 1, scale: SAME, say: (v) => `seed ${v}`, hint: "" },
};
const RATE = { label: "Learning rate", min: -2, max: 2, step: 0.05, scale: SAME };

function initialState() {
  return {
    dials: Object.fromEntries(Object.entries(DIALS).map(([name, dial]) => [name, dial.unset])),
    steps: 1000,
    optimizers: structuredClone(PAGE.chosen),
  };
}

function hashOf(state) {
  const parts = Object.entries({ ...state.dials, steps: state.steps }).map(([name, value]) => `${name}=${value === null ? "off" : value}`);
  for (const { name, rate, settings } of state.optimizers) {
    const options = Object.entries({ rate, ...settings }).map(([key, value]) => `:${encodeURIComponent(key)}=${value}`);
    parts.push(`optimizer=${encodeURIComponent(name)}${options.join("")}`);
  }
  if (state.small) parts.push("view=small");
  return "#" + parts.join("&");
}

// The state of an address, which may come from anybody: what is out of range or unknown keeps its default.
function stateOf(hash) {
  const state = initialState(), chosen = [], unknown = [];
  let small = false;
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [key, value] = cut(part, "=");
    if (key === "view") {
      small = value === "small";
    } else if (key === "optimizer") {
      const slot = slotOf(value);
      if (slot) chosen.push(slot);
      else unknown.push(value.split(":")[0]);
    } else if (key === "steps") {
      if (STEPS.values.includes(Number(value))) state.steps = Number(value);
    } else if (key === "batch") {
      const batch = value === "full" ? value : Number(value);
      if (BATCHES.values.includes(batch)) state.dials.batch = batch;
    } else if (Object.hasOwn(DIALS, key)) {
      const dial = DIALS[key], number = value === "" ? NaN : Number(value);
      if (key === "alignment" && value === "off") state.dials.alignment = null;
      else if (number >= dial.scale.to(dial.min) && number <= dial.scale.to(dial.max)) state.dials[key] = key === "seed" ? Math.round(number) : number;
    }
  }
  if (chosen.length) state.optimizers = chosen.slice(0, PAGE.most);
  return { ...state, unknown, small };
}

function slotOf(text) {
  const [name, ...options] = text.split(":").map(decoded);
  if (!Object.hasOwn(PAGE.optimizers, name)) return null;
  const slot = { name, rate: 0, settings: {} };
  for (const option of options) {
    const [key, value] = cut(option, "="), number = value === "" ? NaN : Number(value);
    const hyper = PAGE.optimizers[name].hyperparameters.find((one) => one.name === key);
    if (key === "rate" && Math.abs(number) <= RATE.max) slot.rate = number;
    else if (hyper && isAllowed(hyper, number)) slot.settings[key] = number;
  }
  return slot;
}

function isAllowed({ low, high, lowOpen, highOpen }, value) {
  const fromLow = low === null || (lowOpen ? value > low : value >= low), toHigh = high === null || (highOpen ? value < high : value <= high);
  return Number.isFinite(value) && fromLow && toHigh;
}

const isMemory = ({ low, high, lowOpen, highOpen }) => low === 0 && high === 1 && !lowOpen && highOpen;

function cut(text, sign) {
  const at = text.indexOf(sign);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return text; // a stray percent sign: it names nothing that is known
  }
}
