"""Rows that are read from a table, and the gradient of the table."""

__all__ = ["SOURCE"]

SOURCE = r"""
// Row `which` of a table for every row; -1 stands for no row, which is 0.
DEVICE void gather(const float* table, const int (&which)[ROWS_EACH], float (&x)[ROWS_EACH][OWN]) {
    EACH_ROW if (which[r] >= 0) UNROLL for (int i = 0; i < OWN; i += 2) {
        const float2 v = load2(table + which[r] * padded(WIDTH) + spot_of(i));
        x[r][i] += v.x; x[r][i + 1] += v.y;
    }
}

// The gradient of a table of N rows from that of the rows that were read (in a region, which is lost). On the matrix units it is
// a product with a matrix of zeros and ones; else a thread adds up four numbers of one row of the table, over the rows of the
// chunk that read it.
template <int N>
CALLED void gather_back(float* total, float* d, const int (&which)[ROWS_EACH], int* whiches, bool fresh) {
    IN_SHARED(d); IN_SHARED(whiches);
    EACH_ROW whiches[row_of(r)] = which[r];
    SYNC_TEAM();
#if LANES == 4
    float d_columns[ROWS / 8][WIDTH / 8][2];
    columns<WIDTH>(d, d_columns);
    _Pragma("unroll 1") for (int first = 0; first < N; first += 16) {
        float c[WIDTH / 8][4] = {};
        UNROLL for (int k = 0; k < ROWS / 8; ++k) {
            unsigned a[4];
            UNROLL for (int j = 0; j < 4; ++j)
                a[j] = whiches[8 * k + LANE + j / 2 * 4] == first + GROUP + j % 2 * 8 ? 0x3f800000u : 0u;
            UNROLL for (int i = 0; i < WIDTH / 8; ++i) {
                const Parts b[2] = {parts(d_columns[k][i][0]), parts(d_columns[k][i][1])};
                multiply_parts(c[i], a[0], a[1], a[2], a[3], b[0].low, b[1].low);
                multiply_parts(c[i], a[0], a[1], a[2], a[3], b[0].high, b[1].high);
            }
        }
        add_tile<WIDTH>(total + first * WIDTH, WIDTH, c, d, fresh, N - first);
    }
#else
    for (int task = MEMBER; task < N * (WIDTH / 4); task += TEAM) {
        const int row_of_table = task / (WIDTH / 4), i = task % (WIDTH / 4) * 4;
        float4 sum = fresh ? float4{0.0f, 0.0f, 0.0f, 0.0f} : load4(total + row_of_table * WIDTH + i);
        _Pragma("unroll 8") for (int row = 0; row < ROWS; ++row) if (whiches[row] == row_of_table) {
            const float4 v = load4(d + place(row) + i);
            sum.x += v.x; sum.y += v.y; sum.z += v.z; sum.w += v.w;
        }
        store4(total + row_of_table * WIDTH + i, sum);
    }
#endif
    SYNC_TEAM();
}
"""
