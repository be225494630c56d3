"""Products with a matrix, with the gradients in their argument and in the matrix."""

__all__ = ["SOURCE"]

SOURCE = r"""
// y += x W^T for a matrix W (O, I) whose rows are `stride` numbers apart.
template <int O, int I>
DEVICE void linear(
    const float* w, int stride, const float (&x)[ROWS_EACH][I / LANES], float (&y)[ROWS_EACH][O / LANES]
) {
#if LANES == 4
    const float* from = w + GROUP * padded(stride) + LANE * 2;
    product<O, I>(x, y, [&](int i, int o) { return load2(from + o * padded(stride) + padded(i)); });
#else
    UNROLL for (int i = 0; i < I; i += 4) {
        float4 v[O];
        UNROLL for (int o = 0; o < O; ++o) v[o] = load4(w + o * stride + i);
        EACH_ROW UNROLL for (int o = 0; o < O; ++o) y[r][o] = fmaf(v[o].x, x[r][i], y[r][o]);
        EACH_ROW UNROLL for (int o = 0; o < O; ++o) y[r][o] = fmaf(v[o].y, x[r][i + 1], y[r][o]);
        EACH_ROW UNROLL for (int o = 0; o < O; ++o) y[r][o] = fmaf(v[o].z, x[r][i + 2], y[r][o]);
        EACH_ROW UNROLL for (int o = 0; o < O; ++o) y[r][o] = fmaf(v[o].w, x[r][i + 3], y[r][o]);
    }
#endif
}

// The gradient of `linear` in x: back += d W.
template <int O, int I>
DEVICE void linear_back(
    const float* w, int stride, const float (&d)[ROWS_EACH][O / LANES], float (&back)[ROWS_EACH][I / LANES]
) {
#if LANES == 4
    const float* from = w + LANE * 2 * padded(stride) + GROUP;
    product<I, O>(d, back, [&](int o, int i) {
        const float* v = from + o * padded(stride) + padded(i);
        return float2{v[0], v[padded(stride)]};
    });
#else
    UNROLL for (int o = 0; o < O; ++o) UNROLL for (int i = 0; i < I; i += 4) {
        const float4 v = load4(w + o * stride + i);
        EACH_ROW {
            back[r][i] = fmaf(v.x, d[r][o], back[r][i]);
            back[r][i + 1] = fmaf(v.y, d[r][o], back[r][i + 1]);
            back[r][i + 2] = fmaf(v.z, d[r][o], back[r][i + 2]);
            back[r][i + 3] = fmaf(v.w, d[r][o], back[r][i + 3]);
        }
    }
#endif
}

// The gradient of `linear` in its matrix: total (O, I) += d^T x, from the regions of d (which is lost) and x; the rows below
// `limit` of the matrix are kept. Without matrix units a thread adds up TALL x 4 numbers over all rows of the chunk; TALL is such
// that every thread has some.
template <int O, int I>
DEVICE void add_gradient(float* total, int stride, float* d, const float* x, bool fresh, int limit = O) {
    SYNC_TEAM();
#if LANES == 4
    float c[O / 16][I / 8][4] = {}, d_columns[ROWS / 8][O / 8][2], x_columns[ROWS / 8][I / 8][2];
    columns<O>(d, d_columns);
    columns<I>(x, x_columns);
    product_of_columns<O, I>(d_columns, x_columns, c);
    UNROLL for (int o = 0; o < O / 16; ++o) add_tile<I>(total + 16 * o * stride, stride, c[o], d, fresh, limit - 16 * o);
#else
    constexpr int TALL = O * I >= 16 * TEAM ? 4 : O * I >= 8 * TEAM ? 2 : 1, TILES = (O / TALL) * (I / 4);
    for (int tile = MEMBER; tile < TILES; tile += TEAM) {
        const int o = tile / (I / 4) * TALL, i = tile % (I / 4) * 4;
        float4 sum[TALL];
        UNROLL for (int k = 0; k < TALL; ++k)
            sum[k] = o + k < limit && !fresh ? load4(total + (o + k) * stride + i) : float4{0.0f, 0.0f, 0.0f, 0.0f};
        _Pragma("unroll 8") for (int row = 0; row < ROWS; ++row) {
            const float4 b = load4(x + place(row) + i);
            UNROLL for (int k = 0; k < TALL; ++k) {
                const float a = d[place(row) + o + k];
                sum[k].x = fmaf(a, b.x, sum[k].x);
                sum[k].y = fmaf(a, b.y, sum[k].y);
                sum[k].z = fmaf(a, b.z, sum[k].z);
                sum[k].w = fmaf(a, b.w, sum[k].w);
            }
        }
        UNROLL for (int k = 0; k < TALL; ++k) if (o + k < limit) store4(total + (o + k) * stride + i, sum[k]);
    }
#endif
    SYNC_TEAM();
}
"""
