"""Sums over the tokens of a sequence, over clubs of teams, and over all threads."""

__all__ = ["SOURCE"]

SOURCE = r"""
// The mean over the tokens of a sequence in every row of the sequence; the way back is the same function of the gradient, which
// is 0 in all rows but one.
DEVICE void mean_of_sequence(const float (&x)[ROWS_EACH][OWN], float (&y)[ROWS_EACH][OWN], float* region) {
    put(region, x);
    SYNC_TEAM();
    EACH_ROW {
        const int first = row_of(r) / SLOTS * SLOTS;
        const bool real = row_of(r) - first < TOKENS;
        EACH_OWN {
            float sum = 0.0f;
            for (int j = 0; j < TOKENS; ++j) sum += region[place(first + j) + column_of(i)];
            y[r][i] = real ? sum * (1.0f / TOKENS) : 0.0f;
        }
    }
    SYNC_TEAM();
}

// Four numbers of the gradient, the sum of that of the first club and those of the others.
DEVICE float4 gradient4(const float* first, const float* others) {
    float4 sum = load4(first);
    UNROLL for (int club = 1; club < TEAMS / JOINED; ++club) {
        const float4 v = load4(others + (club - 1) * DIMENSION);
        sum.x += v.x; sum.y += v.y; sum.z += v.z; sum.w += v.w;
    }
    return sum;
}

// The sum of two numbers over all threads of the block.
DEVICE float2 sums_of_threads(float x, float y, float* room) {
    int number = THREADS;
#if LANES == 4
    UNROLL for (int lanes = 1; lanes < 32; lanes *= 2) { x += across(x, lanes); y += across(y, lanes); }
    number = TEAMS;
#endif
    store2(room + 2 * (THREAD / (THREADS / number)), float2{x, y});
    SYNC();
    float2 sum{0.0f, 0.0f};
    _Pragma("unroll 8") for (int t = 0; t < number; ++t) { sum.x += room[2 * t]; sum.y += room[2 * t + 1]; }
    SYNC();
    return sum;
}
"""
