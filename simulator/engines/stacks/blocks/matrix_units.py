"""Products on the matrix units, as three products of tf32 parts, and tiles of a gradient that teams add up."""

__all__ = ["SOURCE"]

SOURCE = r"""
#if LANES == 4
// A number as the sum of two tf32 numbers; the matrix unit cuts off the last bits of the low part.
struct Parts { unsigned high, low; };
DEVICE Parts parts(float x) {
    const unsigned high = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
    return {high, __float_as_uint(x - __uint_as_float(high))};
}

// c += a b on the matrix unit, for a (16, 8), b (8, 8) and c (16, 8) spread over the warp.
DEVICE void multiply_parts(float (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// The same from both parts of all numbers. Where `small` is not c, the small products have a sum of their own, which keeps more
// of their digits; it takes registers that some kernels lack.
DEVICE void multiply(float (&c)[4], float (&small)[4], const Parts (&a)[4], const Parts (&b)[2]) {
    multiply_parts(small, a[0].low, a[1].low, a[2].low, a[3].low, b[0].high, b[1].high);
    multiply_parts(small, a[0].high, a[1].high, a[2].high, a[3].high, b[0].low, b[1].low);
    multiply_parts(c, a[0].high, a[1].high, a[2].high, a[3].high, b[0].high, b[1].high);
}

// y (rows, N) += x B for B (K, N), of which `read` returns the two numbers of a thread in the tile at (k, n).
template <int N, int K, typename Read>
DEVICE void product(const float (&x)[ROWS_EACH][K / 4], float (&y)[ROWS_EACH][N / 4], Read read) {
    float c[ROWS_EACH / 2][N / 8][4], small[ROWS_EACH / 2][N / 8][4] = {};
    UNROLL for (int m = 0; m < ROWS_EACH / 2; ++m) UNROLL for (int n = 0; n < N / 8; ++n) UNROLL for (int j = 0; j < 4; ++j)
        c[m][n][j] = y[2 * m + j / 2][2 * n + j % 2];
    UNROLL for (int k = 0; k < K / 8; ++k) {
        Parts a[ROWS_EACH / 2][4];
        UNROLL for (int m = 0; m < ROWS_EACH / 2; ++m) UNROLL for (int j = 0; j < 4; ++j)
            a[m][j] = parts(x[2 * m + j % 2][2 * k + j / 2]);
        UNROLL for (int n = 0; n < N / 8; ++n) {
            const float2 v = read(8 * k, 8 * n);
            const Parts b[2] = {parts(v.x), parts(v.y)};
            UNROLL for (int m = 0; m < ROWS_EACH / 2; ++m) multiply(c[m][n], WHOLE ? small[m][n] : c[m][n], a[m], b);
        }
    }
    UNROLL for (int m = 0; m < ROWS_EACH / 2; ++m) UNROLL for (int n = 0; n < N / 8; ++n) UNROLL for (int j = 0; j < 4; ++j)
        y[2 * m + j / 2][2 * n + j % 2] = WHOLE ? c[m][n][j] + small[m][n][j] : c[m][n][j];
}

// A region read by columns: of the rows 8k + LANE and 8k + LANE + 4 the columns 8n + GROUP. So the rows are what a product sums
// over: this is a fragment of its first argument (transposed) and of its second one.
template <int N> DEVICE void columns(const float* region, float (&x)[ROWS / 8][N / 8][2]) {
    UNROLL for (int k = 0; k < ROWS / 8; ++k) UNROLL for (int n = 0; n < N / 8; ++n) UNROLL for (int j = 0; j < 2; ++j)
        x[k][n][j] = region[place(8 * k + 4 * j + LANE) + 8 * n + GROUP];
}

// c (O, I) = d^T x, from columns of d and x.
template <int O, int I>
DEVICE void product_of_columns(
    const float (&d)[ROWS / 8][O / 8][2], const float (&x)[ROWS / 8][I / 8][2], float (&c)[O / 16][I / 8][4]
) {
    UNROLL for (int k = 0; k < ROWS / 8; ++k) UNROLL for (int o = 0; o < O / 16; ++o) {
        Parts a[4];
        UNROLL for (int j = 0; j < 4; ++j) a[j] = parts(d[k][2 * o + j % 2][j / 2]);
        UNROLL for (int i = 0; i < I / 8; ++i) {
            const Parts b[2] = {parts(x[k][i][0]), parts(x[k][i][1])};
            multiply(c[o][i], c[o][i], a, b);
        }
    }
}

// Sixteen rows of a gradient (below `limit`) += a tile. For a gradient of all teams each one lays its tile down in a region, and
// after a barrier all threads collect them. The first chunks find nothing to add to.
template <int I> DEVICE void lay(float* region, const float (&c)[I / 8][4]) {
    UNROLL for (int i = 0; i < I / 8; ++i) UNROLL for (int j = 0; j < 2; ++j)
        store2(region + (GROUP + 8 * j) * (I + 8) + 8 * i + LANE * 2, float2{c[i][2 * j], c[i][2 * j + 1]});
}
template <int I> DEVICE void collect(float* total, int stride, const float* region, bool fresh, int limit) {
    const float* first = region - TEAM_OF_CLUB * TEAM_NUMBERS;
    for (int task = THREAD % (TEAM * JOINED); task < 8 * I; task += TEAM * JOINED) {
        const int row = task / (I / 2), i = task % (I / 2) * 2;
        if (row >= limit) continue;
        float2 sum = fresh ? float2{0.0f, 0.0f} : load2(total + row * stride + i);
        UNROLL for (int team = 0; team < JOINED; ++team) {
            const float2 v = load2(first + team * TEAM_NUMBERS + row * (I + 8) + i);
            sum.x += v.x; sum.y += v.y;
        }
        store2(total + row * stride + i, sum);
    }
}
template <int I>
DEVICE void add_tile(float* total, int stride, const float (&c)[I / 8][4], float* region, bool fresh, int limit) {
#if JOINED > 1
    SYNC_TEAM();
    lay<I>(region, c);
    SYNC_CLUB();
    collect<I>(total, stride, region, fresh, limit);
    SYNC_CLUB();
#else
    UNROLL for (int i = 0; i < I / 8; ++i) UNROLL for (int j = 0; j < 2; ++j) if (GROUP + 8 * j < limit) {
        float* to = total + (GROUP + 8 * j) * stride + 8 * i + LANE * 2;
        const float2 old = fresh ? float2{0.0f, 0.0f} : load2(to);
        store2(to, float2{old.x + c[i][2 * j], old.y + c[i][2 * j + 1]});
    }
#endif
}
#endif
"""
