// From a state to what is drawn: the problems, the runs of every optimizer and their bounds.

const kept = new Map(); // samples of a seed and batch, which no other dial changes

function drawnSamples(seed, batch, steps, dimension) {
  const key = `${seed} ${batch} ${steps} ${dimension}`;
  if (!kept.has(key)) {
    if (kept.size >= 4) kept.clear();
    kept.set(key, samples(seed, batch, steps, dimension));
  }
  return kept.get(key);
}

// Two blocks of one coordinate each. Their gradients at the start differ by the factor c^alignment, or the errors are equal.
function acrossBlocks({ heterogeneity: c, alignment: a }) {
  const start = a === null || c === 1 ? [-1, 1] : [-(c ** (-a / 2)), c ** (a / 2 - 1)];
  const errorScale = a === null || c === 1 ? 1 : Math.sqrt((1 + c ** -2) / 2);
  return withGap(quadratic([[1], [c]], [[1], [1]], start.map((value) => [value]), errorScale));
}

// One block of two coordinates, its eigenvectors turned by 45 degrees times the dial.
function withinBlock({ condition, rotation }) {
  const angle = (rotation * Math.PI) / 4, V = [Math.cos(angle), -Math.sin(angle), Math.sin(angle), Math.cos(angle)];
  return withGap(quadratic([[1 / condition, 1]], [V], [times(V, [-1, 0.6])], 1));
}

function withGap(problem) {
  const gradient = new Float64Array(2);
  gradientOf(problem, problem.start, gradient);
  return { ...problem, gap0: (problem.start[0] * gradient[0] + problem.start[1] * gradient[1]) / 2 };
}

function compute(state) {
  const { dials, steps } = state, whole = generate([3, 3, 3], dials), across = acrossBlocks(dials), within = withinBlock(dials);
  const isFull = dials.batch === "full";
  const seen = [9, 2].map((dimension) => (isFull ? null : drawnSamples(dials.seed, dials.batch, steps, dimension)));
  const before = {};
  const runs = state.optimizers.map((slot, number) => {
    const meta = PAGE.optimizers[slot.name], rule = RULES[slot.name];
    const settings = meta.hyperparameters.map(({ name, default: unset }) => slot.settings[name] ?? unset);
    const rate = (problem) => round3(rule.natural(problem.scales, settings) * 10 ** slot.rate);
    const lr = rate(whole), run = simulate(whole, rule, lr, settings, steps, seen[0]);
    const nth = (before[slot.name] = (before[slot.name] ?? -1) + 1);
    const look = { color: meta.color, marker: meta.marker, dash: PAGE.dashes[nth % PAGE.dashes.length] };
    const values = isFull ? valuesOf(whole, rule, lr, settings, meta.hyperparameters.map(({ name }) => name)) : null;
    const bound = (names) => (isFull ? boundOf(names, values, steps) : { name: "", curve: null, why: "bounds are for the full gradient" });
    const threshold = PAGE.tolerance * run.gap[0], hit = run.gap.findIndex((gap) => gap <= threshold);
    return {
      ...run, slot, lr, look, hit, offset: (number + 0.5) / state.optimizers.length,
      upper: bound(meta.bounds.upper), lower: bound(meta.bounds.lower),
      across: simulate(across, rule, rate(across), settings, steps, seen[1], true),
      within: simulate(within, rule, rate(within), settings, steps, seen[1], true),
    };
  });
  return { runs, across, within, whole };
}
