"""Products with a matrix, and the gradient of a matrix, unrolled so that sums stay in registers."""

__all__ = ["CALLS", "SOURCE"]

CALLS = {
    "product": "product(w, base + o[1], o[2], o[3], o[4], o[5], a, o[6], o[7], o[8], o[9], o[10])",
    "matrix_gradient": "matrix_gradient(g, base + o[1], o[2], o[3], a, o[4], o[5], o[6], o[7], o[8])",
}

_ROWS, _VECTORS = 4, 2
"""Rows and vectors of columns of a product that are accumulated in registers at the same time: with 16 registers, 8 sums hide the
latency of a multiply-add, and their 6 operands fit beside them."""


def _product() -> str:
    """Return `product`: y (outs rows) = W x, where the entry (o, i) of W is at `o * over_o + i * over_i`."""
    out = ["\n\n@part\ndef product(w, at, over_o, over_i, outs, ins, a, x, x_pitch, y, y_pitch, columns):"]
    out += [f"    tall = outs - outs % {_ROWS}", f"    wide = columns - columns % ({_VECTORS} * LANES)"]
    for rows, begin, end in ((_ROWS, "0", "tall"), (1, "tall", "outs")):
        out += [f"    for o in range({begin}, {end}, {rows}):"]
        out += [f"        w{k} = at + (o + {k}) * over_o" for k in range(rows)]
        for vectors, first, last in ((_VECTORS, "0", "wide"), (1, "wide", "columns")):
            cells = [(k, v) for k in range(rows) for v in range(vectors)]
            places = {(k, v): f"y + (o + {k}) * y_pitch + c + {v} * LANES" for k, v in cells}
            out += [f"        for c in range({first}, {last}, {vectors} * LANES):"]
            out += [f"            s{k}{v} = number(0.0)" for k, v in cells]
            out += ["            for i in range(ins):"]
            out += [f"                x{v} = load(a, x + i * x_pitch + c + {v} * LANES)" for v in range(vectors)]
            for k in range(rows):
                out += [f"                m = spread(pick(w, w{k} + i * over_i))"]
                out += [f"                s{k}{v} = fma(m, x{v}, s{k}{v})" for v in range(vectors)]
            out += [f"            store(a, {places[k, v]}, s{k}{v})" for k, v in cells]
    return "\n".join(out) + "\n"


def _matrix_gradient() -> str:
    """Return `matrix_gradient`: the gradient (outs, ins) += d x^T, a sum over columns; ins is a multiple of four."""
    out = ["\n\n@part\ndef matrix_gradient(g, at, outs, ins, a, d, d_pitch, x, x_pitch, columns):"]
    out += ["    even = outs - outs % 2"]
    for rows, begin, end in ((2, "0", "even"), (1, "even", "outs")):
        cells = [(k, j) for k in range(rows) for j in range(4)]
        out += [f"    for o in range({begin}, {end}, {rows}):", "        for i in range(0, ins, 4):"]
        out += [f"            s{k}{j} = number(0.0)" for k, j in cells]
        out += ["            for c in range(0, columns, LANES):"]
        out += [f"                d{k} = load(a, d + (o + {k}) * d_pitch + c)" for k in range(rows)]
        for j in range(4):
            out += [f"                v = load(a, x + (i + {j}) * x_pitch + c)"]
            out += [f"                s{k}{j} = fma(d{k}, v, s{k}{j})" for k in range(rows)]
        for k in range(rows):
            sums = ", ".join(f"s{k}{j}" for j in range(4))
            out += [f"            add_four(g, at + (o + {k}) * ins + i, {sums})"]
    return "\n".join(out) + "\n"


SOURCE = _product() + _matrix_gradient()
