"""The GELU, and the network of a layer, slice by slice of its hidden numbers."""

__all__ = ["SOURCE"]

SOURCE = r"""
// The probability that a normal number is at most x, and the density at x without its factor. The tail is that of Abramowitz and
// Stegun, 7.1.26, within 0.8e-7; the error function of the library takes three times as long.
DEVICE float normal(float x, float& density) {
    density = quick_exp(-0.5f * x * x);
    const float t = 1.0f / fmaf(0.3275911f * 0.70710678f, fabsf(x), 1.0f);
    float tail = fmaf(t, 1.061405429f, -1.453152027f);
    tail = fmaf(t, tail, 1.421413741f);
    tail = fmaf(t, tail, -0.284496736f);
    tail = fmaf(t, tail, 0.254829592f) * (0.5f * t * density);
    return x < 0.0f ? tail : 1.0f - tail;
}

// The GELU (Hendrycks and Gimpel, arXiv 1606.08415), and its derivative.
DEVICE float gelu(float x) {
    float density;
    return x * normal(x, density);
}
DEVICE float gelu(float x, float& slope) {
    float density;
    const float below = normal(x, density);
    slope = fmaf(x * 0.39894228f, density, below);
    return x * below;
}

// The network of a layer, y += W2 gelu(W1 x), slice by slice of its hidden numbers.
CALLED void network(
    const float* w1, const float* w2, const float (&x)[ROWS_EACH][OWN], float (&y)[ROWS_EACH][OWN]
) {
    IN_SHARED(w1); IN_SHARED(w2);
    _Pragma("unroll 1") for (int s = 0; s < HIDDEN; s += SLICE) {
        float h[ROWS_EACH][SLICE / LANES] = {};
        linear<SLICE, WIDTH>(w1 + padded(s * WIDTH), WIDTH, x, h);
        EACH_ROW UNROLL for (int i = 0; i < SLICE / LANES; ++i) h[r][i] = gelu(h[r][i]);
        linear<WIDTH, SLICE>(w2 + padded(s), HIDDEN, h, y);
    }
}

// The gradients of `network` in x (back += ...), w1 and w2; the hidden numbers are computed again.
CALLED void network_back(
    const float* w1, const float* w2, float* total1, float* total2, const float (&d)[ROWS_EACH][OWN],
    const float (&x)[ROWS_EACH][OWN], float (&back)[ROWS_EACH][OWN], float* one, float* two, bool fresh
) {
    IN_SHARED(w1); IN_SHARED(w2); IN_SHARED(one); IN_SHARED(two);
#if JOINED > 1
    float d_columns[ROWS / 8][WIDTH / 8][2], x_columns[ROWS / 8][WIDTH / 8][2];
    put(one, d);
    put(two, x);
    SYNC_TEAM();
    columns<WIDTH>(one, d_columns);
    columns<WIDTH>(two, x_columns);
    SYNC_TEAM();
#endif
    _Pragma("unroll 1") for (int s = 0; s < HIDDEN; s += SLICE) {
        float h[ROWS_EACH][SLICE / LANES] = {}, dh[ROWS_EACH][SLICE / LANES] = {};
        linear<SLICE, WIDTH>(w1 + padded(s * WIDTH), WIDTH, x, h);
        linear_back<WIDTH, SLICE>(w2 + padded(s), HIDDEN, d, dh);
        EACH_ROW UNROLL for (int i = 0; i < SLICE / LANES; ++i) {
            float slope;
            h[r][i] = gelu(h[r][i], slope);
            dh[r][i] *= slope;
        }
        linear_back<SLICE, WIDTH>(w1 + padded(s * WIDTH), WIDTH, dh, back);
#if JOINED > 1
        float h_columns[ROWS / 8][SLICE / 8][2], dh_columns[ROWS / 8][SLICE / 8][2];
        float c2[WIDTH / 16][SLICE / 8][4] = {}, c1[SLICE / 16][WIDTH / 8][4] = {};
        put(one, h);
        put(two, dh);
        SYNC_TEAM();
        columns<SLICE>(one, h_columns);
        columns<SLICE>(two, dh_columns);
        product_of_columns<WIDTH, SLICE>(d_columns, h_columns, c2);
        product_of_columns<SLICE, WIDTH>(dh_columns, x_columns, c1);
        UNROLL for (int o = 1; o < WIDTH / 16; ++o)
            add_tile<SLICE>(total2 + 16 * o * HIDDEN + s, HIDDEN, c2[o], one, fresh, 16);
        SYNC_TEAM();  // then two tiles for the same barriers
        lay<SLICE>(one, c2[0]);
        lay<WIDTH>(two, c1[0]);
        SYNC_CLUB();
        collect<SLICE>(total2 + s, HIDDEN, one, fresh, 16);
        collect<WIDTH>(total1 + s * WIDTH, WIDTH, two, fresh, 16);
        SYNC_CLUB();
#else
        put(one, d);
        put(two, h);
        add_gradient<WIDTH, SLICE>(total2 + s, HIDDEN, one, two, fresh);
        put(one, dh);
        put(two, x);
        add_gradient<SLICE, WIDTH>(total1 + s * WIDTH, WIDTH, one, two, fresh);
#endif
    }
}
"""
