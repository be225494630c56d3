"""What a chunk reads of the data: features of its tokens, and ids, targets and weights of its columns."""

__all__ = ["CALLS", "SOURCE"]

CALLS = {
    "features": "features(a, o[1], o[2], o[3], reals, o[4], tokens, sequences, data, begin, length, chosen, chosen_at)",
}

SOURCE = '''

@part
def features(a, x, pitch, apart, given, number_of, tokens, sequences, data, begin, length, chosen, chosen_at):
    """x = the features of every token, 0 beyond the last sequence."""
    for p in range(tokens):
        for s in range(sequences):
            row = begin + s
            if row < length and chosen.size > 0:
                row = chosen[chosen_at + row]
            for f in range(number_of):
                value = real(0.0)
                if begin + s < length:
                    value = given[((data + row) * tokens + p) * number_of + f]
                a[x + f * pitch + p * apart + s] = value


@part
def lay_out(a, answers, ids, targets, tokens, sequences, per_sequence, given, classes, weights, shares, factor, even, data,
            begin, length, chosen, chosen_at):
    """Ids, targets and weights of the columns of a chunk; the weights are 0 beyond the last sequence."""
    columns = per_sequence * sequences
    for s in range(sequences):
        row = begin + s
        real_row = row < length
        if not real_row:
            row = 0
        if chosen.size > 0:
            row = chosen[chosen_at + row]
        if given.size > 0:
            for p in range(tokens):
                ids[p * sequences + s] = given[(data + row) * tokens + p]
        for p in range(per_sequence):
            at = (data + row) * per_sequence + p
            targets[p * sequences + s] = classes[at]
            a[answers + p * sequences + s] = weights[at] * factor if real_row else real(0.0)
            a[answers + columns + p * sequences + s] = shares[at] * even if real_row else real(0.0)
'''
