// Bounds on the gap. Formulas and hypotheses are printed from the theorems of quadsim (BOUNDS); here are the values of their symbols.

function valuesOf(problem, rule, lr, settings, names) {
  const { begin, spectra, vectors, hessian, start, scales } = problem, P = begin.at(-1), B = spectra.length;
  const gradient = new Float64Array(P), inverse = new Float64Array(P), sigma = [], gaps = [], smoothness = [];
  gradientOf(problem, start, gradient);
  const of = (array, l) => Array.from(array.slice(begin[l], begin[l + 1]));
  for (let l = 0; l < B; l++) {
    const n = begin[l + 1] - begin[l], H = hessian[l], V = vectors[l], g = of(gradient, l);
    for (let i = 0; i < n; i++) inverse[begin[l] + i] = spectra[l].reduce((sum, value, k) => sum + V[i * n + k] ** 2 / value, 0);
    sigma.push(...eigenvalues(H.map((value, k) => value / Math.sqrt(Math.abs(g[Math.floor(k / n)] * g[k % n]))), n));
    gaps.push(g.reduce((sum, value, i) => sum + value * start[begin[l] + i], 0) / 2);
    smoothness.push(largestOnSigns(H, n));
  }
  const total = (x) => x.reduce((a, b) => a + b, 0), sizes = spectra.map((spectrum) => spectrum.length);
  return {
    ...scales, P, B, problem, rule, settings, lr,
    setting: Object.fromEntries([["lr", lr], ...names.map((name, n) => [name, settings[n]])]),
    L_l: problem.L_l, mu_l: problem.mu_l, P_l: sizes,
    kappa_l: problem.L_l.map((value, l) => value / problem.mu_l[l]),
    Lambda_P: total(sizes.map((size, l) => (size / P) * problem.L_l[l])),
    nu: 1 / Math.max(...inverse), nu_l: sizes.map((_, l) => 1 / Math.max(...of(inverse, l))),
    S_l: smoothness, L_inf: total(smoothness),
    C1_l: sizes.map((_, l) => Math.min(...of(gradient, l).map(Math.abs)) / problem.L_l[l]),
    C2_l: sizes.map((_, l) => Math.max(...of(gradient, l).map(Math.abs)) / problem.L_l[l]),
    g_0: gradient, sigma_i: sigma, gap_0_l: gaps, gap_0: total(gaps),
    x_i: Array.from(start, Math.abs), a_i: inverse,
    q_i: spectra.flatMap((spectrum, l) => spectrum.map((value, k) => (value * total(of(start, l).map((e, i) => e * vectors[l][i * spectrum.length + k])) ** 2) / 2)),
    lambda_i: spectra.flat(),
  };
}

// Symbols that change along the run: what is called with 0, 1, 2, ... to get their values at these steps.
const ALONG = {
  u_l: (v) => recursion(v, v.S_l),
  v_l: (v) => {
    const s = v.setting, age = "momentum" in s ? s.momentum / (1 - s.momentum) : s.beta1 / (1 - s.beta2);
    return recursion(v, v.S_l.map((value) => value * (1 + 4 * age)));
  },
  p_i: (v) => {
    // The error on an eigenvector moves as that of a problem of one coordinate.
    const modes = v.lambda_i.map((value) => {
      const one = { begin: [0, 1], hessian: [[value]], start: Float64Array.of(1), L_l: [value], mu_l: [value] };
      const { path, diverged } = simulate(one, v.rule, v.lr, v.settings, v.steps, null, true);
      return diverged < 0 ? path : path.fill(Infinity, diverged);
    });
    const now = new Float64Array(modes.length);
    return (t) => {
      for (let i = 0; i < now.length; i++) now[i] = Math.abs(modes[i][t]);
      return now;
    };
  },
  travelled: (v) => (t) => t * v.lr,
  q_rho: (v) => {
    const pairs = v.lambda_i.flatMap((a, i) => v.lambda_i.slice(0, i).map((b, j) => {
      const k = Math.max(a, b) / Math.min(a, b);
      return { share: Math.min(v.q_i[i], v.q_i[j]) / v.gap_0, factor: ((k - 1) / (k + 1)) ** 2 };
    }));
    return (t) => {
      let largest = 0;
      for (const pair of pairs) {
        if (t > 0) pair.share *= pair.factor;
        largest = Math.max(largest, pair.share);
      }
      return largest;
    };
  },
};

function recursion(v, size) {
  let u = null;
  return (t) => {
    u = t === 0 ? v.gap_0_l.slice() : u.map((value, l) => Math.max(0, value - v.lr * Math.sqrt(2 * v.nu_l[l] * value)) + (v.lr ** 2 * size[l]) / 2);
    return u;
  };
}

// The curve of the first theorem whose hypotheses hold, or why there is none.
function boundOf(names, values, steps) {
  let why = "none on this page";
  for (const name of names) {
    const bound = BOUNDS[name];
    const failed = bound.conditions.find((condition) => !condition.holds(values));
    if (failed) { why = `${name} needs: ${failed.text}`; continue; }
    const v = { ...values, steps }, moving = bound.along.map((symbol) => [symbol, ALONG[symbol](v)]);
    const curve = new Float64Array(steps + 1), scale = bound.relative ? v.gap_0 : 1;
    curve[0] = v.gap_0;
    if (bound.kind === "per step") {
      const factor = bound.value(v, 0);
      for (let t = 1; t <= steps; t++) curve[t] = curve[t - 1] * factor;
    } else {
      for (const [, at] of moving) at(0);
      for (let t = 1; t <= steps; t++) {
        for (const [symbol, at] of moving) v[symbol] = at(t);
        curve[t] = scale * bound.value(v, t);
      }
    }
    return { name, curve };
  }
  return { name: "", curve: null, why };
}

// As in quadsim, a relation holds up to the rounding of a side with a few operations.
const slack = (a, b) => 8 * Number.EPSILON * (Math.abs(a) + Math.abs(b));
const atMost = (a, b) => a <= b + slack(a, b), equal = (a, b) => Math.abs(a - b) <= slack(a, b);
const over = (reduce, start) => (number, value) => { let out = start; for (let j = 0; j < number; j++) out = reduce(out, value(j)); return out; };
const maxOver = over(Math.max, -Infinity), minOver = over(Math.min, Infinity), sumOver = over((a, b) => a + b, 0);

function largestOnSigns(H, n) {
  let largest = -Infinity;
  for (let bits = 0; bits < 2 ** (n - 1); bits++) {
    let form = 0;
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) form += H[i * n + j] * ((bits >> i) & 1 ? -1 : 1) * ((bits >> j) & 1 ? -1 : 1);
    largest = Math.max(largest, form);
  }
  return largest;
}

// Eigenvalues of a small symmetric matrix, by Jacobi rotations.
function eigenvalues(matrix, n) {
  const A = Float64Array.from(matrix);
  for (let sweep = 0; sweep < 50; sweep++) {
    let off = 0, all = 0;
    for (let k = 0; k < n * n; k++) { all += A[k] ** 2; if (k % (n + 1)) off += A[k] ** 2; }
    if (!(off > 1e-32 * all)) break;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (A[p * n + q] === 0) continue;
        const angle = (A[q * n + q] - A[p * n + p]) / (2 * A[p * n + q]);
        const t = Math.sign(angle || 1) / (Math.abs(angle) + Math.hypot(angle, 1)), c = 1 / Math.hypot(t, 1), s = t * c;
        for (let k = 0; k < n; k++) {
          const a = A[k * n + p], b = A[k * n + q];
          A[k * n + p] = c * a - s * b; A[k * n + q] = s * a + c * b;
        }
        for (let k = 0; k < n; k++) {
          const a = A[p * n + k], b = A[q * n + k];
          A[p * n + k] = c * a - s * b; A[q * n + k] = s * a + c * b;
        }
      }
    }
  }
  return Array.from({ length: n }, (_, i) => A[i * n + i]);
}
