"""What depends on the position of a token: tables of embeddings and positions, features, and the mean of a sequence."""

__all__ = ["CALLS", "SOURCE"]

CALLS = {
    "embed": "embed(w, base + o[1], a, o[2], o[3], o[4], o[5], tokens, sequences, ids)",
    "embed_back": "embed_back(g, base + o[1], a, o[2], o[3], o[4], o[5], tokens, sequences, ids)",
    "positions": "positions(w, base + o[1], a, o[2], o[3], o[4], o[5], tokens, sequences)",
    "positions_back": "positions_back(g, base + o[1], a, o[2], o[3], o[4], o[5], tokens, sequences)",
    "mean": "mean(a, o[1], o[2], o[3], tokens, sequences)",
    "mean_back": "mean_back(a, o[1], o[2], o[3], tokens, sequences)",
}

SOURCE = '''

@part
def mean(a, x, y, rows, tokens, sequences):
    """The mean over the tokens of a sequence."""
    over = spread(real(1.0) / real(tokens))
    for f in range(rows):
        for s in range(0, sequences, LANES):
            sum = number(0.0)
            for p in range(tokens):
                sum = sum + load(a, x + (f * tokens + p) * sequences + s)
            store(a, y + f * sequences + s, sum * over)


@part
def mean_back(a, d, back, rows, tokens, sequences):
    over = spread(real(1.0) / real(tokens))
    for f in range(rows):
        for s in range(0, sequences, LANES):
            v = load(a, d + f * sequences + s) * over
            for p in range(tokens):
                store(a, back + (f * tokens + p) * sequences + s, v)


@part
def embed(w, table, a, x, pitch, apart, rows, tokens, sequences, ids):
    """x = the row of the table that every token asks for. Position p is `apart` numbers behind position p - 1."""
    for p in range(tokens):
        for s in range(sequences):
            row = table + ids[p * sequences + s] * rows
            for f in range(rows):
                a[x + f * pitch + p * apart + s] = w[row + f]


@part
def embed_back(g, table, a, d, pitch, apart, rows, tokens, sequences, ids):
    for p in range(tokens):
        for s in range(sequences):
            row = table + ids[p * sequences + s] * rows
            for f in range(rows):
                g[row + f] += a[d + f * pitch + p * apart + s]


@part
def positions(w, table, a, x, pitch, apart, rows, tokens, sequences):
    for p in range(tokens):
        for f in range(rows):
            own = spread(pick(w, table + p * rows + f))
            for s in range(0, sequences, LANES):
                at = x + f * pitch + p * apart + s
                store(a, at, load(a, at) + own)


@part
def positions_back(g, table, a, d, pitch, apart, rows, tokens, sequences):
    for p in range(tokens):
        for f in range(0, rows, 4):
            s0 = s1 = s2 = s3 = number(0.0)
            for s in range(0, sequences, LANES):
                at = d + f * pitch + p * apart + s
                s0 = s0 + load(a, at)
                s1 = s1 + load(a, at + pitch)
                s2 = s2 + load(a, at + 2 * pitch)
                s3 = s3 + load(a, at + 3 * pitch)
            add_four(g, table + p * rows + f, s0, s1, s2, s3)
'''
