"""The head with the cross-entropy of every row."""

__all__ = ["SOURCE"]

SOURCE = r"""
// The logits of the classes from `first` on; minus infinity beyond the last class. The head is the last parameter, and what is
// read beyond its last row is a region of rows; it counts for nothing.
DEVICE void logits_of(
    const float* w, int first, const float (&x)[ROWS_EACH][OWN], float (&logits)[ROWS_EACH][SLICE / LANES]
) {
    linear<SLICE, WIDTH>(w + padded(first * WIDTH), WIDTH, x, logits);
    UNROLL for (int c = 0; c < SLICE / LANES; ++c) if (first + column_of(c) >= CLASSES) EACH_ROW logits[r][c] = -INFINITY;
}

// The gradient in these logits, d, and that in x (back += ...), of the weighted cross-entropy of every row.
DEVICE void gradient_of_logits(
    const float* w, int first, const float (&x)[ROWS_EACH][OWN], const int (&target)[ROWS_EACH],
    const float (&weight)[ROWS_EACH], const float (&sum)[ROWS_EACH], float (&d)[ROWS_EACH][SLICE / LANES],
    float (&back)[ROWS_EACH][OWN]
) {
    logits_of(w, first, x, d);
    EACH_ROW UNROLL for (int c = 0; c < SLICE / LANES; ++c)
        d[r][c] = (quick_exp(d[r][c] - sum[r]) - (first + column_of(c) == target[r] ? 1.0f : 0.0f)) * weight[r];
    linear_back<SLICE, WIDTH>(w + padded(first * WIDTH), WIDTH, d, back);
}

// The cross-entropy of every row, and the logarithm of its sum of exponentials. Every lane has a largest logit and a sum of its
// own, until all classes are done.
CALLED void cross_entropy(
    const float* w, const float (&x)[ROWS_EACH][OWN], const int (&target)[ROWS_EACH], float (&loss)[ROWS_EACH],
    float (&sum)[ROWS_EACH]
) {
    IN_SHARED(w);
    float top[ROWS_EACH], right[ROWS_EACH];
    EACH_ROW { top[r] = -1e30f; sum[r] = 0.0f; right[r] = 0.0f; }
    _Pragma("unroll 1") for (int first = 0; first < CLASSES; first += SLICE) {
        float logits[ROWS_EACH][SLICE / LANES] = {};
        logits_of(w, first, x, logits);
        EACH_ROW {
            float now = top[r];
            UNROLL for (int c = 0; c < SLICE / LANES; ++c) now = fmaxf(now, logits[r][c]);
            sum[r] *= quick_exp(top[r] - now);
            UNROLL for (int c = 0; c < SLICE / LANES; ++c) {
                sum[r] += quick_exp(logits[r][c] - now);
                if (first + column_of(c) == target[r]) right[r] = logits[r][c];
            }
            top[r] = now;
        }
    }
    EACH_ROW {
        const float highest = largest_of_lanes(top[r]);
        sum[r] = logf(sum_of_lanes(sum[r] * quick_exp(top[r] - highest))) + highest;
        loss[r] = sum[r] - sum_of_lanes(right[r]);
    }
}

// The gradient of the weighted cross-entropy in x (back += ...) and the head.
CALLED void answer_back(
    const float* w, float* total, const float (&x)[ROWS_EACH][OWN], const int (&target)[ROWS_EACH],
    const float (&weight)[ROWS_EACH], const float (&sum)[ROWS_EACH], float (&back)[ROWS_EACH][OWN], float* one, float* two,
    bool fresh
) {
    IN_SHARED(w); IN_SHARED(one); IN_SHARED(two);
    put(two, x);
    _Pragma("unroll 1") for (int first = 0; first < CLASSES; first += SLICE) {
        float d[ROWS_EACH][SLICE / LANES] = {};
        gradient_of_logits(w, first, x, target, weight, sum, d, back);
        put(one, d);
        add_gradient<SLICE, WIDTH>(total + first * WIDTH, WIDTH, one, two, fresh, CLASSES - first);
    }
}
"""
