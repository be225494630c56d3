// A run of an optimizer: gradients of the full batch, or of fresh samples of least squares (the oracle `stream` of quadsim).

// Standard normal features of every sample: they depend on the seed alone, and a batch of 8 begins with the sample of a batch of 1.
function samples(seed, batch, steps, dimension) {
  const even = dimension + (dimension % 2), z = new Float64Array(steps * batch * even);
  for (let t = 0; t < steps; t++) normals(seed, PURPOSE.SAMPLE, t, batch * even, z, t * batch * even);
  return { batch, even, z, u: new Float64Array(dimension), sum: new Float64Array(dimension) };
}

function gradientOf(problem, error, out) {
  const { begin, hessian } = problem;
  for (let l = 0; l < hessian.length; l++) {
    const H = hessian[l], first = begin[l], n = begin[l + 1] - first;
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += H[i * n + j] * error[first + j];
      out[first + i] = sum;
    }
  }
}

// The gradient of the samples of step t, x = V sqrt(lambda) z for the features z: their residuals are z'u with u = sqrt(lambda) V'e.
function sampledGradient(problem, drawn, t, error, out) {
  const { begin, vectors, spectra } = problem, { batch, even, z } = drawn, P = error.length;
  const u = drawn.u, sum = drawn.sum.fill(0, 0, P);
  for (let l = 0; l < spectra.length; l++) {
    const first = begin[l], n = begin[l + 1] - first, V = vectors[l];
    for (let k = 0; k < n; k++) {
      let along = 0;
      for (let i = 0; i < n; i++) along += V[i * n + k] * error[first + i];
      u[first + k] = Math.sqrt(spectra[l][k]) * along;
    }
  }
  for (let at = t * batch * even; at < (t + 1) * batch * even; at += even) {
    let residual = 0;
    for (let k = 0; k < P; k++) residual += z[at + k] * u[k];
    for (let k = 0; k < P; k++) sum[k] += z[at + k] * residual;
  }
  for (let l = 0; l < spectra.length; l++) {
    const first = begin[l], n = begin[l + 1] - first, V = vectors[l];
    for (let i = 0; i < n; i++) {
      let value = 0;
      for (let k = 0; k < n; k++) value += V[i * n + k] * Math.sqrt(spectra[l][k]) * sum[first + k];
      out[first + i] = value / batch;
    }
  }
}

// Run `rule` (an entry of RULES). Returns the gap at every step, up to the one at which the run has diverged or is
// far below all that is drawn, and the errors of all
// of these steps where `keepPath` asks for them. `drawn` are the samples of a stream; without them the gradient is that of the
// full batch.
function simulate(problem, rule, lr, settings, steps, drawn = null, keepPath = false) {
  const P = problem.begin.at(-1), error = problem.start.slice(), gradient = new Float64Array(P), step = new Float64Array(P);
  const seen = drawn ? new Float64Array(P) : gradient;
  const optimizer = rule.make(problem, settings), gap = new Float64Array(steps + 1);
  const path = keepPath ? new Float64Array((steps + 1) * P) : null;
  for (let t = 0; t <= steps; t++) {
    gradientOf(problem, error, gradient);
    let twice = 0;
    for (let i = 0; i < P; i++) twice += error[i] * gradient[i];
    gap[t] = twice / 2;
    if (path) path.set(error, t * P);
    if (!(gap[t] <= PAGE.divergedAbove * gap[0])) return { gap: gap.subarray(0, t + 1), path, diverged: t };
    // Two gaps, as a run with a memory may pass by the solution. Numbers below the normal range would take most of the time.
    if (t > 0 && Math.max(gap[t], gap[t - 1]) <= PAGE.settledBelow * gap[0]) return { gap: gap.subarray(0, t + 1), path, diverged: -1 };
    if (t === steps) break;
    if (drawn) sampledGradient(problem, drawn, t, error, seen);
    if (t === 0) optimizer.start(seen);
    optimizer.advance(seen, error, lr, step);
    for (let i = 0; i < P; i++) error[i] += step[i];
  }
  return { gap, path, diverged: -1 };
}
