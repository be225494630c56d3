// A run of an optimizer: gradients of the full batch, or of fresh samples of least squares (the oracle `stream` of quadsim).

// Standard normal features of every sample: they depend on the seed alone, and a batch of 8 begins with the sample of a batch of 1.
function samples(seed, batch, steps, dimension) {
  const even = dimension + (dimension % 2), z = new Float64Array(steps * batch * even);
  for (let t = 0; t < steps; t++) normals(seed, PURPOSE.SAMPLE, t, batch * even, z, t * batch * even);
  return { batch, even, z };
}

// The same samples as vectors x = V sqrt(lambda) z of a problem, one after the other.
function featuresOf(problem, drawn, steps) {
  const { begin } = problem, P = begin.at(-1), number = steps * drawn.batch, x = new Float64Array(number * P);
  problem.vectors.forEach((V, l) => {
    const n = begin[l + 1] - begin[l], root = V.map((value, k) => value * Math.sqrt(problem.spectra[l][k % n]));
    for (let s = 0; s < number; s++) {
      for (let i = 0; i < n; i++) {
        let sum = 0;
        for (let j = 0; j < n; j++) sum += root[i * n + j] * drawn.z[s * drawn.even + begin[l] + j];
        x[s * P + begin[l] + i] = sum;
      }
    }
  });
  return { batch: drawn.batch, x };
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

function sampledGradient(features, t, error, out) {
  const { batch, x } = features, P = error.length;
  out.fill(0);
  for (let k = t * batch * P; k < (t + 1) * batch * P; k += P) {
    let residual = 0;
    for (let i = 0; i < P; i++) residual += x[k + i] * error[i];
    for (let i = 0; i < P; i++) out[i] += (x[k + i] * residual) / batch;
  }
}

// Run `rule` (an entry of RULES). Returns the gap at every step, up to the step at which the run has diverged, and the errors of all
// of these steps where `keepPath` asks for them.
function simulate(problem, rule, lr, settings, steps, features = null, keepPath = false) {
  const P = problem.begin.at(-1), error = problem.start.slice(), gradient = new Float64Array(P), step = new Float64Array(P);
  const seen = features ? new Float64Array(P) : gradient;
  const optimizer = rule.make(problem, settings), gap = new Float64Array(steps + 1);
  const path = keepPath ? new Float64Array((steps + 1) * P) : null;
  for (let t = 0; t <= steps; t++) {
    gradientOf(problem, error, gradient);
    let twice = 0;
    for (let i = 0; i < P; i++) twice += error[i] * gradient[i];
    gap[t] = twice / 2;
    if (path) path.set(error, t * P);
    if (!(gap[t] <= PAGE.divergedAbove * gap[0])) return { gap: gap.subarray(0, t + 1), path, diverged: t };
    if (t === steps) break;
    if (features) sampledGradient(features, t, error, seen);
    if (t === 0) optimizer.start(seen);
    optimizer.advance(seen, error, lr, step);
    for (let i = 0; i < P; i++) error[i] += step[i];
  }
  return { gap, path, diverged: -1 };
}
