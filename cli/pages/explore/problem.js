// Quadratics with blocks, as quadsim.simulator.BlockQuadratic makes them from the dials (mode `scale`).

// Dials: heterogeneity, condition (of each block), alignment (null: not controlled), rotation, seed.
function generate(sizes, dials) {
  const last = Math.max(sizes.length - 1, 1);
  const spectra = sizes.map((size, l) => {
    const scale = dials.heterogeneity ** (l / last);
    return Array.from({ length: size }, (_, j) => scale * (size === 1 ? 1 : dials.condition ** (j / (size - 1) - 1)));
  });
  const vectors = sizes.map((size, l) => (dials.rotation === 0 ? identity(size) : rotationPower(haar(dials.seed, l, size), size, dials.rotation)));
  const isAligned = dials.alignment !== null && dials.heterogeneity > 1;
  const coefficients = isAligned ? startByGradient(spectra, vectors, dials) : startByRank(spectra, dials.seed);
  const start = coefficients.map((part, l) => times(vectors[l], part));
  return quadratic(spectra, vectors, start, isAligned ? Math.sqrt(mean(spectra.flat().map((x) => x ** -2))) : 1);
}

// A problem from eigenvalues (ascending) and eigenvectors (in columns, row by row) of every block, and its start.
function quadratic(spectra, vectors, start, errorScale) {
  const begin = [0];
  for (const spectrum of spectra) begin.push(begin.at(-1) + spectrum.length);
  const hessian = spectra.map((spectrum, l) => {
    const n = spectrum.length, H = new Float64Array(n * n), V = vectors[l];
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += V[i * n + k] * spectrum[k] * V[j * n + k];
        H[i * n + j] = H[j * n + i] = sum;
      }
    }
    return H;
  });
  const all = spectra.flat();
  return {
    spectra, vectors, hessian, begin,
    start: Float64Array.from(start.flatMap((part) => [...part])),
    L_l: spectra.map((spectrum) => spectrum.at(-1)),
    mu_l: spectra.map((spectrum) => spectrum[0]),
    scales: {
      L: Math.max(...all), mu: Math.min(...all), trace: all.reduce((a, b) => a + b, 0),
      dimension: all.length, error_scale: errorScale, tolerance: PAGE.tolerance,
    },
  };
}

// A standard normal coefficient for every eigenvalue, drawn by its rank among all (ties by position).
function startByRank(spectra, seed) {
  const all = spectra.flat();
  const order = all.map((_, i) => i).sort((a, b) => all[a] - all[b] || a - b);
  const draws = normals(seed, PURPOSE.START, 0, all.length), out = [];
  order.forEach((place, rank) => { out[place] = draws[rank]; });
  let at = 0;
  return spectra.map((spectrum) => out.slice(at, (at += spectrum.length)));
}

// Gradients whose sizes spread as much as the blocks' L_l, with the given correlation of the logarithms of both.
function startByGradient(spectra, vectors, dials) {
  const B = spectra.length, centred = (x) => { const m = mean(x); return x.map((value) => value - m); };
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  let x = centred(spectra.map((spectrum) => Math.log(spectrum.at(-1))));
  x = x.map((value) => value / Math.sqrt(dot(x, x)));
  let y = x.map((value) => dials.alignment * value);
  if (Math.abs(dials.alignment) < 1) {
    let r = centred([...normals(dials.seed, PURPOSE.ALIGNMENT, 0, B)].slice(0, B));
    for (let again = 0; again < 2; again++) {
      const along = dot(r, x);
      r = centred(r.map((value, l) => value - along * x[l]));
    }
    const length = Math.sqrt(dot(r, r)), across = Math.sqrt(1 - dials.alignment ** 2);
    y = y.map((value, l) => value + (across * r[l]) / length);
  }
  const spread = Math.max(...y) - Math.min(...y);
  const ratio = Math.max(...spectra.map((s) => s.at(-1))) / Math.min(...spectra.map((s) => s.at(-1)));
  return spectra.map((spectrum, l) => {
    const n = spectrum.length, direction = [...normals(dials.seed, PURPOSE.DIRECTION, l, n)].slice(0, n);
    const size = Math.exp((y[l] * Math.log(ratio)) / spread) / Math.sqrt(mean(direction.map((value) => value * value)));
    const gradient = direction.map((value) => value * size);
    return spectrum.map((value, k) => gradient.reduce((sum, g, i) => sum + vectors[l][i * n + k] * g, 0) / value);
  });
}

function times(matrix, vector) {
  const n = vector.length;
  return vector.map((_, i) => vector.reduce((sum, value, k) => sum + matrix[i * n + k] * value, 0));
}

function mean(x) {
  return x.reduce((a, b) => a + b, 0) / x.length;
}
