"""Attention among the tokens of a sequence, with its backward pass."""

__all__ = ["CALLS", "SOURCE"]

CALLS = {
    "attention": "attention(a, o[1], o[2], o[3], sharp, tokens, sequences, o[4], o[5], o[6])",
    "attention_back": "attention_back(a, o[1], o[2], o[3], o[4], o[5], sharp, tokens, sequences, o[6], o[7], o[8])",
}

SOURCE = '''

@part
def attention(a, qkv, shares, mixed, sharpness, tokens, sequences, heads, each, causal):
    """Attention of the rows q, k, v of `qkv`; `shares` has those of every head, asking and asked token."""
    columns = tokens * sequences
    k = qkv + heads * each * columns
    v = k + heads * each * columns
    sharp = spread(sharpness)
    for s in range(0, sequences, LANES):
        for h in range(heads):
            for p in range(tokens):
                asked = p + 1 if causal else tokens
                mine = shares + (h * tokens + p) * columns + s
                top = number(-np.inf)
                for j in range(asked):
                    score = number(0.0)
                    for e in range(h * each, h * each + each):
                        at = e * columns + s
                        score = fma(load(a, qkv + at + p * sequences), load(a, k + at + j * sequences), score)
                    score = score * sharp
                    store(a, mine + j * sequences, score)
                    top = larger(score, top)
                sum = number(0.0)
                for j in range(asked):
                    share = exp(load(a, mine + j * sequences) - top)
                    store(a, mine + j * sequences, share)
                    sum = sum + share
                over = number(1.0) / sum
                for j in range(tokens):
                    share = number(0.0)
                    if j < asked:
                        share = load(a, mine + j * sequences) * over
                    store(a, mine + j * sequences, share)
                for e in range(h * each, h * each + each):
                    mix = number(0.0)
                    for j in range(asked):
                        mix = fma(load(a, mine + j * sequences), load(a, v + e * columns + j * sequences + s), mix)
                    store(a, mixed + e * columns + p * sequences + s, mix)


@part
def attention_back(a, qkv, shares, slopes, d, back, sharpness, tokens, sequences, heads, each, causal):
    """The gradient in q, k and v (the rows of `back`); `slopes` gets that of every score, which is 0 where it is masked."""
    columns = tokens * sequences
    k = qkv + heads * each * columns
    v = k + heads * each * columns
    back_k = back + heads * each * columns
    back_v = back_k + heads * each * columns
    sharp = spread(sharpness)
    for s in range(0, sequences, LANES):
        for h in range(heads):
            for p in range(tokens):
                mine = (h * tokens + p) * columns + s
                mean = number(0.0)
                for j in range(tokens):
                    along = number(0.0)
                    for e in range(h * each, h * each + each):
                        at = e * columns + s
                        along = fma(load(a, d + at + p * sequences), load(a, v + at + j * sequences), along)
                    store(a, slopes + mine + j * sequences, along)
                    mean = fma(load(a, shares + mine + j * sequences), along, mean)
                for j in range(tokens):
                    at = mine + j * sequences
                    slope = load(a, shares + at) * (load(a, slopes + at) - mean)
                    store(a, slopes + at, slope * sharp)
                for e in range(h * each, h * each + each):
                    sum = number(0.0)
                    for j in range(tokens):
                        sum = fma(load(a, slopes + mine + j * sequences), load(a, k + e * columns + j * sequences + s), sum)
                    store(a, back + e * columns + p * sequences + s, sum)
            for j in range(tokens):
                for e in range(h * each, h * each + each):
                    key = number(0.0)
                    value = number(0.0)
                    for p in range(tokens):
                        at = (h * tokens + p) * columns + j * sequences + s
                        asks = e * columns + p * sequences + s
                        key = fma(load(a, slopes + at), load(a, qkv + asks), key)
                        value = fma(load(a, shares + at), load(a, d + asks), value)
                    store(a, back_k + e * columns + j * sequences + s, key)
                    store(a, back_v + e * columns + j * sequences + s, value)
'''
