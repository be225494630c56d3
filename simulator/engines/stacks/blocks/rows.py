"""Teams, lanes and rows: who holds what, where parameters and rows lie in shared memory, and sums over lanes."""

__all__ = ["SOURCE"]

SOURCE = r"""
constexpr int TEAM = LANES == 1 ? THREADS : 32, TEAMS = THREADS / TEAM;
constexpr int ROWS = TEAM / LANES * ROWS_EACH;
constexpr int OWN = WIDTH / LANES;                        // columns of a row that a thread has
constexpr int TASKS_EACH = ROWS_EACH * HEADS / LANES;     // pairs of a row and a head, of which a thread computes the attention
#define MEMBER (THREAD % TEAM)
#define TEAM_OF_CLUB (THREAD / TEAM % JOINED)
#define LANE (MEMBER % LANES)
#define GROUP (MEMBER / LANES)

#define EACH_ROW UNROLL for (int r = 0; r < ROWS_EACH; ++r)
#define EACH_OWN UNROLL for (int i = 0; i < OWN; ++i)
#define EACH_TASK UNROLL for (int a = 0; a < TASKS_EACH; ++a)

DEVICE float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }
DEVICE void store4(float* to, float4 x) { *reinterpret_cast<float4*>(to) = x; }
DEVICE float2 load2(const float* from) { return *reinterpret_cast<const float2*>(from); }
DEVICE void store2(float* to, float2 x) { *reinterpret_cast<float2*>(to) = x; }
DEVICE int row_of(int r) { return r * (TEAM / LANES) + GROUP; }
DEVICE int column_of(int i) { return i / 2 * (2 * LANES) + LANE * 2 + i % 2; }

// Place of a parameter in shared memory. The numbers left free keep the threads of a warp in different banks.
DEVICE constexpr int padded(int i) { return LANES == 1 ? i : i + i / 16 * 4; }
DEVICE int spot_of(int i) { return padded(i / 2 * (2 * LANES)) + LANE * 2 + i % 2; }  // padded(column_of(i))

// Place of a row in a region of shared memory for the rows of a team, with numbers left free for the same reason.
// With WHOLE, regions are columns of one: six side by side.
constexpr int APART = (WHOLE ? 6 : 1) * WIDTH + (LANES == 1 ? 4 : 8);
constexpr int REGION = WHOLE ? WIDTH : ROWS * APART + (LANES == 1 ? ROWS / SLOTS * 4 : 0);
constexpr int REGIONS = WHOLE ? ROWS * APART : 2 * REGION;
constexpr int TEAM_NUMBERS = REGIONS + 2 * HEADS * ROWS;  // of a team: its regions, and two numbers for every task
DEVICE int place(int row) { return row * APART + (LANES == 1 ? row / SLOTS * 4 : 0); }

// Write the rows of a thread to a region, or read them.
template <int N> DEVICE void put(float* region, const float (&x)[ROWS_EACH][N]) {
    EACH_ROW UNROLL for (int i = 0; i < N; i += 2)
        store2(region + place(row_of(r)) + column_of(i), float2{x[r][i], x[r][i + 1]});
}

template <int N> DEVICE void get(const float* region, float (&x)[ROWS_EACH][N]) {
    EACH_ROW UNROLL for (int i = 0; i < N; i += 2) {
        const float2 v = load2(region + place(row_of(r)) + column_of(i));
        x[r][i] = v.x; x[r][i + 1] = v.y;
    }
}

// Copy an array of a thread.
template <int N, int M> DEVICE void copy(const float (&from)[N][M], float (&to)[N][M]) {
    UNROLL for (int n = 0; n < N; ++n) UNROLL for (int m = 0; m < M; ++m) to[n][m] = from[n][m];
}
template <int N> DEVICE void copy(const float (&from)[N], float (&to)[N]) { UNROLL for (int n = 0; n < N; ++n) to[n] = from[n]; }

// Sums, and the largest number, over the lanes of a row, or over the groups of a warp.
DEVICE float sum_of_lanes(float x) {
#if LANES == 4
    x += across(x, 1); x += across(x, 2);
#endif
    return x;
}
DEVICE float largest_of_lanes(float x) {
#if LANES == 4
    x = fmaxf(x, across(x, 1)); x = fmaxf(x, across(x, 2));
#endif
    return x;
}
"""
