// Counter-based random numbers, as in quadsim.simulator.support.draws: a draw is a function of seed, purpose, index and number, so
// that the page has the problem that `BlockQuadratic.generate(..., seed=...)` draws. All draws are those of problem 0.
const PURPOSE = { START: 0, ROTATION: 1, ALIGNMENT: 2, DIRECTION: 3, SAMPLE: 9 };

function highWord(a, b) {
  // The upper 32 bits of a product of two 32-bit numbers, from products of their halves, which doubles hold exactly.
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const p00 = a0 * b0, p01 = a0 * b1, p10 = a1 * b0, p11 = a1 * b1;
  const middle = (p00 >>> 16) + (p01 & 0xffff) + (p10 & 0xffff);
  return (p11 + (p01 >>> 16) + (p10 >>> 16) + (middle >>> 16)) >>> 0;
}

function philox(c0, c1, k0, k1, words) {
  let c2 = 0, c3 = 0; // the index of the problem
  for (let round = 0; round < 10; round++) {
    const aHigh = highWord(0xd2511f53, c0), aLow = Math.imul(0xd2511f53, c0) >>> 0;
    const bHigh = highWord(0xcd9e8d57, c2), bLow = Math.imul(0xcd9e8d57, c2) >>> 0;
    c0 = (bHigh ^ c1 ^ k0) >>> 0;
    c1 = bLow;
    c2 = (aHigh ^ c3 ^ k1) >>> 0;
    c3 = aLow;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  words[0] = c0; words[1] = c1; words[2] = c2; words[3] = c3;
}

// Standard normal numbers by the method of Box and Muller, written to `out` from `at` on; `count` is rounded up to an even number.
function normals(seed, purpose, index, count, out = new Float64Array(count + (count % 2)), at = 0) {
  const words = new Uint32Array(4), k0 = seed >>> 0, k1 = Math.floor(seed / 2 ** 32) >>> 0;
  const unit = (high, low) => 1 - ((high >>> 5) * 2 ** 26 + (low >>> 6)) * 2 ** -53;
  for (let pair = 0; 2 * pair < count; pair++) {
    philox((pair | (purpose << 28)) >>> 0, index, k0, k1, words);
    const radius = Math.sqrt(-2 * Math.log(unit(words[0], words[1]))), angle = 2 * Math.PI * unit(words[2], words[3]);
    out[at + 2 * pair] = radius * Math.cos(angle);
    out[at + 2 * pair + 1] = radius * Math.sin(angle);
  }
  return out;
}

// A rotation from the Haar measure, row by row, by Householder reflections.
function haar(seed, block, size) {
  const number = (size * (size + 1)) / 2 - 1;
  const draws = number ? normals(seed, PURPOSE.ROTATION, block, number) : [];
  const Q = identity(size), signs = new Float64Array(size).fill(1);
  let begin = 0;
  for (let n = 0; n < size - 1; n++) {
    const v = Array.from(draws.slice(begin, begin + size - n));
    begin += size - n;
    const squared = (x) => x.reduce((sum, value) => sum + value * value, 0);
    signs[n] = v[0] < 0 ? -1 : 1;
    v[0] += signs[n] * Math.sqrt(squared(v));
    const twice = 2 / squared(v);
    for (let row = 0; row < size; row++) {
      let product = 0;
      for (let j = 0; j < v.length; j++) product += Q[row * size + n + j] * v[j] * twice;
      for (let j = 0; j < v.length; j++) Q[row * size + n + j] -= product * v[j];
    }
  }
  let last = (size - 1) % 2 ? -1 : 1;
  for (let n = 0; n < size - 1; n++) last *= signs[n];
  signs[size - 1] = last;
  for (let k = 0; k < Q.length; k++) Q[k] *= signs[Math.floor(k / size)];
  return Q;
}

function identity(size) {
  const Q = new Float64Array(size * size);
  for (let i = 0; i < size; i++) Q[i * size + i] = 1;
  return Q;
}

// The geodesic power Q^s of a rotation of 2 or 3 dimensions: its angle times s.
function rotationPower(Q, size, s) {
  if (s === 1 || size === 1) return Q;
  if (s === 0) return identity(size);
  if (size === 2) {
    const angle = s * Math.atan2(Q[2] - Q[1], Q[0] + Q[3]);
    return Float64Array.of(Math.cos(angle), -Math.sin(angle), Math.sin(angle), Math.cos(angle));
  }
  const axis = [(Q[7] - Q[5]) / 2, (Q[2] - Q[6]) / 2, (Q[3] - Q[1]) / 2]; // times the sine of the angle
  const sine = Math.hypot(...axis), angle = Math.atan2(sine, (Q[0] + Q[4] + Q[8] - 1) / 2);
  const [x, y, z] = axis.map((value) => value / sine);
  const c = Math.cos(s * angle), d = Math.sin(s * angle), k = 1 - c;
  return Float64Array.of(
    c + x * x * k, x * y * k - z * d, x * z * k + y * d,
    y * x * k + z * d, c + y * y * k, y * z * k - x * d,
    z * x * k - y * d, z * y * k + x * d, c + z * z * k,
  );
}
