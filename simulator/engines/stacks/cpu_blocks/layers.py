"""Numbers of a token by themselves (activations, sums, products), and the layer norm, with their backward passes."""

__all__ = ["CALLS", "SOURCE"]

CALLS = {
    "add": "add(a, o[1], o[2], o[3])",
    "multiply": "multiply(a, o[1], o[2], o[3])",
    "clear": "clear(a, o[1], o[2])",
    "norm": "norm(w, base + o[1], a, o[2], o[3], o[4], o[5], o[6], o[7])",
    "norm_back": "norm_back(w, base + o[1], g, a, o[2], o[3], o[4], o[5], o[6], o[7])",
    "gelu": "gelu(a, o[1], o[2], o[3])",
    "relu": "relu(a, o[1], o[2], o[3])",
}

SOURCE = '''

@part
def gelu(a, h, y, count):
    """y = h P(normal number < h), and h becomes the derivative."""
    for i in range(0, count, LANES):
        x = load(a, h + i)
        density = exp(x * x * number(-0.5))
        tail = normal_tail(absolute(x), density)
        below = unless_negative(x, number(1.0) - tail, tail)
        store(a, y + i, x * below)
        store(a, h + i, fma(x * number(0.3989422804014327), density, below))


@part
def relu(a, h, y, count):
    """y = max(h, 0), and h becomes the derivative."""
    for i in range(0, count, LANES):
        x = load(a, h + i)
        store(a, y + i, larger(number(0.0), x))
        store(a, h + i, unless_negative(-x, number(0.0), number(1.0)))


@part
def add(a, y, x, count):
    for i in range(0, count, LANES):
        store(a, y + i, load(a, y + i) + load(a, x + i))


@part
def multiply(a, y, x, count):
    for i in range(0, count, LANES):
        store(a, y + i, load(a, y + i) * load(a, x + i))


@part
def clear(a, y, count):
    for i in range(0, count, LANES):
        store(a, y + i, number(0.0))


@part
def norm(w, gain, a, x, normed, factor, y, rows, columns):
    """The layer norm: every column with mean 0 and variance 1 (`normed`), and what it was multiplied by (`factor`)."""
    over = spread(real(1.0) / real(rows))
    for c in range(0, columns, LANES):
        mean = number(0.0)
        for f in range(rows):
            mean = mean + load(a, x + f * columns + c)
        mean = mean * over
        square = number(0.0)
        for f in range(rows):
            v = load(a, x + f * columns + c) - mean
            square = fma(v, v, square)
        by = number(1.0) / sqrt(fma(square, over, number(1e-5)))
        by = by + (square - square)  # squares that overflow are NaN, a divergence: by 0, all logits would be those of a guess
        store(a, factor + c, by)
        for f in range(rows):
            v = (load(a, x + f * columns + c) - mean) * by
            store(a, normed + f * columns + c, v)
            store(a, y + f * columns + c, v * spread(pick(w, gain + f)))


@part
def norm_back(w, gain, g, a, d, normed, factor, back, rows, columns):
    over = spread(real(1.0) / real(rows))
    for f in range(0, rows, 4):
        s0 = s1 = s2 = s3 = number(0.0)
        for c in range(0, columns, LANES):
            at = f * columns + c
            s0 = fma(load(a, d + at), load(a, normed + at), s0)
            s1 = fma(load(a, d + at + columns), load(a, normed + at + columns), s1)
            s2 = fma(load(a, d + at + 2 * columns), load(a, normed + at + 2 * columns), s2)
            s3 = fma(load(a, d + at + 3 * columns), load(a, normed + at + 3 * columns), s3)
        add_four(g, gain + f, s0, s1, s2, s3)
    for c in range(0, columns, LANES):
        mean = slope = number(0.0)
        for f in range(rows):
            v = load(a, d + f * columns + c) * spread(pick(w, gain + f))
            mean = mean + v
            slope = fma(v, load(a, normed + f * columns + c), slope)
        mean = mean * over
        slope = slope * over
        by = load(a, factor + c)
        for f in range(rows):
            v = load(a, d + f * columns + c) * spread(pick(w, gain + f)) - mean
            store(a, back + f * columns + c, (v - load(a, normed + f * columns + c) * slope) * by)
'''
