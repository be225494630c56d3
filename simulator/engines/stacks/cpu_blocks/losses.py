"""The losses of the answers, and their gradients in the logits."""

__all__ = ["CALLS", "SOURCE"]

CALLS = {
    "cross_entropy": "loss = cross_entropy(a, o[1], o[2], o[3], o[4], answers, targets, learns)",
    "square_error": "loss = square_error(a, o[1], o[3], o[4], answers, targets)",
}

SOURCE = '''

@part
def cross_entropy(a, logits, sums, classes, columns, answers, targets, learns):
    """The losses of the answers, weighted and unweighted; logits become the gradient of the weighted sum.

    `answers` has the weights of the columns, then the unweighted ones; `sums` is room for two rows.
    """
    weighted = even = 0.0
    for c in range(0, columns, LANES):
        top = load(a, logits + c)
        for o in range(1, classes):
            top = larger(load(a, logits + o * columns + c), top)
        store(a, sums + c, top)
    for c in range(columns):
        a[sums + columns + c] = a[logits + targets[c] * columns + c]
    for c in range(0, columns, LANES):
        top = load(a, sums + c)
        right = load(a, sums + columns + c) - top
        sum = number(0.0)
        for o in range(classes):
            share = exp(load(a, logits + o * columns + c) - top)
            store(a, logits + o * columns + c, share)
            sum = sum + share
        store(a, sums + c, sum)
        store(a, sums + columns + c, right)
        if learns:
            by = load(a, answers + c) / sum
            for o in range(classes):
                store(a, logits + o * columns + c, load(a, logits + o * columns + c) * by)
    for c in range(columns):
        loss = math.log(np.float64(a[sums + c])) - np.float64(a[sums + columns + c])
        weighted += np.float64(a[answers + c]) * loss
        even += np.float64(a[answers + columns + c]) * loss
        a[logits + targets[c] * columns + c] -= a[answers + c]
    return weighted, even


@part
def square_error(a, logits, classes, columns, answers, targets):
    """The same for half the squared distance of the logits from the one-hot vector of the class."""
    weighted = even = 0.0
    for c in range(columns):
        a[logits + targets[c] * columns + c] -= real(1.0)
        loss = 0.0
        for o in range(classes):
            v = a[logits + o * columns + c]
            loss += 0.5 * np.float64(v) * np.float64(v)
            a[logits + o * columns + c] = v * a[answers + c]
        weighted += np.float64(a[answers + c]) * loss
        even += np.float64(a[answers + columns + c]) * loss
    return weighted, even
'''
