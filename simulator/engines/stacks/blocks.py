"""The building blocks of the fused kernels of stacks, in CUDA C++: each forward pass with its backward pass.

A chunk of data has a row for every token, and a team of threads takes a chunk. The rows of a sequence follow one after the other
and are filled up to a power of two (SLOTS). Every thread holds ROWS_EACH rows, or the share of them that is its own:

- LANES = 4: a team is a warp, four threads (lanes) share a row, and products run on the matrix units. An array of a thread then
  is the fragment of the result of such a product: lane l has the columns 2l, 2l + 1, 2l + 8, 2l + 9, ... of its rows. The same
  numbers are a fragment of an argument of the next product, with the columns in another order, in which it reads its matrix.
- LANES = 1: a team is the whole block, and every thread has whole rows. So runs what has no such fragments, and the tests on a
  CPU.

Parameters are in shared memory. The gradient of a matrix is a product over all rows of the chunk, written to shared memory for it
(`put`). Several teams work on as many chunks at the same time. JOINED teams (a club) add up one gradient, in the order of
the teams, with barriers; that of the first club is in shared memory, those of others are in global memory, and the step adds them
up. With JOINED = 1 no team waits for another, but there is a gradient of each.

All arithmetic is in float32 (on the matrix units: three products of tf32 parts, which leave out less than 2^-21 of a product),
and every sum has one order, so that a result is the same bits again.

The text compiles as C++ for a CPU too, as a block of one thread that holds all rows; so the tests run it without a GPU. The
definitions are those of `models/transformer.py`, `models/mlp.py` and `models/base.py`, against which every block is tested.
"""

__all__ = ["BLOCKS", "HEADER"]

HEADER = r"""
#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define CALLED static __device__ CALLED_OR_COPIED
#define SYNC() __syncthreads()
#define THREAD (int(threadIdx.x))
#define BLOCK (int(blockIdx.x))
#define INFINITY __int_as_float(0x7f800000)
DEVICE float quick_exp(float x) { return __expf(x); }
DEVICE float across(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
#define IN_SHARED(pointer) __builtin_assume(__isShared(pointer))
#if LANES == 1
#define SYNC_TEAM() __syncthreads()
#else
#define SYNC_TEAM() __syncwarp()
#define SYNC_CLUB() asm volatile("bar.sync %0, %1;" ::"r"(1 + THREAD / (32 * JOINED)), "n"(32 * JOINED) : "memory")
#endif
#else
#include <cmath>
#define DEVICE static inline
#define CALLED static
#define SYNC()
#define SYNC_TEAM()
#define IN_SHARED(pointer)
#define THREAD 0
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
static inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
using std::fmaf; using std::fmaxf;
DEVICE float quick_exp(float x) { return std::exp(x); }
#endif
#define UNROLL _Pragma("unroll")

template <typename T> DEVICE T ratio_(T a, T b) { return a == T(0) ? T(0) : a / b; }
template <typename T> DEVICE T sign_(T a) { return T(a > T(0)) - T(a < T(0)); }
DEVICE float absolute_(float a) { return fabsf(a); }
DEVICE float sqrt_(float a) { return sqrtf(a); }
DEVICE float exp_(float a) { return expf(a); }
DEVICE float log_(float a) { return logf(a); }
DEVICE float tanh_(float a) { return tanhf(a); }
DEVICE float power_(float a, float b) { return powf(a, b); }
DEVICE double absolute_(double a) { return fabs(a); }
DEVICE double sqrt_(double a) { return sqrt(a); }
DEVICE double exp_(double a) { return exp(a); }
DEVICE double log_(double a) { return log(a); }
DEVICE double tanh_(double a) { return tanh(a); }
DEVICE double power_(double a, double b) { return pow(a, b); }
template <typename T> DEVICE T maximum_(T a, T b) { return a > b || a != a ? a : b; }
template <typename T> DEVICE T minimum_(T a, T b) { return a < b || a != a ? a : b; }
"""
"""The functions that the printed rule calls (see `printer.FUNCTIONS`), and what differs between a GPU and a CPU."""

BLOCKS = r"""
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

// The layer norm: every row with mean 0 and variance 1, and what it was multiplied by.
DEVICE void norm(const float (&x)[ROWS_EACH][OWN], float (&normed)[ROWS_EACH][OWN], float (&factor)[ROWS_EACH]) {
    EACH_ROW {
        float mean = 0.0f, square = 0.0f;
        EACH_OWN mean += x[r][i];
        mean = sum_of_lanes(mean) * (1.0f / WIDTH);
        EACH_OWN {
            normed[r][i] = x[r][i] - mean;
            square = fmaf(normed[r][i], normed[r][i], square);
        }
        factor[r] = rsqrtf(sum_of_lanes(square) * (1.0f / WIDTH) + 1e-5f);
        EACH_OWN normed[r][i] *= factor[r];
    }
}

DEVICE void times(const float* gain, const float (&x)[ROWS_EACH][OWN], float (&y)[ROWS_EACH][OWN]) {
    EACH_OWN { const float v = gain[spot_of(i)]; EACH_ROW y[r][i] = x[r][i] * v; }
}

// The gradient of a gain: total (WIDTH) += the sums of `along` over all rows of the chunk, for which a region is used.
DEVICE void add_gain(float* total, const float (&along)[ROWS_EACH][OWN], float* region, bool fresh) {
#if LANES == 4
    EACH_OWN {
        float sum = 0.0f;
        EACH_ROW sum += along[r][i];
        UNROLL for (int groups = 4; groups < 32; groups *= 2) sum += across(sum, groups);
        if (GROUP != 0) continue;
        if (JOINED > 1) region[column_of(i)] = sum;
        else total[column_of(i)] = fresh ? sum : total[column_of(i)] + sum;
    }
    if (JOINED == 1) return;
    SYNC_CLUB();
    for (int i = THREAD % (TEAM * JOINED); i < WIDTH; i += TEAM * JOINED) {
        float sum = fresh ? 0.0f : total[i];
        UNROLL for (int team = 0; team < JOINED; ++team) sum += region[(team - TEAM_OF_CLUB) * TEAM_NUMBERS + i];
        total[i] = sum;
    }
    SYNC_CLUB();
#else
    put(region, along);
    SYNC_TEAM();
    for (int i = MEMBER; i < WIDTH; i += TEAM) {
        float sum = 0.0f;
        _Pragma("unroll 8") for (int row = 0; row < ROWS; ++row) sum += region[place(row) + i];
        total[i] = (fresh ? 0.0f : total[i]) + sum;
    }
    SYNC_TEAM();
#endif
}

// The gradient of the norm and its gain in x (back += ...), and that of the gain, for which the region is used.
CALLED void norm_back(
    const float* gain, float* total, const float (&d)[ROWS_EACH][OWN], const float (&normed)[ROWS_EACH][OWN],
    const float (&factor)[ROWS_EACH], float (&back)[ROWS_EACH][OWN], float* region, bool fresh
) {
    IN_SHARED(gain); IN_SHARED(region);
    float along[ROWS_EACH][OWN];
    EACH_ROW {
        float mean = 0.0f, slope = 0.0f;
        EACH_OWN {
            along[r][i] = d[r][i] * normed[r][i];
            mean = fmaf(d[r][i], gain[spot_of(i)], mean);
            slope = fmaf(along[r][i], gain[spot_of(i)], slope);
        }
        mean = sum_of_lanes(mean) * (1.0f / WIDTH);
        slope = sum_of_lanes(slope) * (1.0f / WIDTH);
        EACH_OWN back[r][i] += (d[r][i] * gain[spot_of(i)] - mean - normed[r][i] * slope) * factor[r];
    }
    add_gain(total, along, region, fresh);
}

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

// A task of attention is a head of a row; a thread computes tasks MEMBER, MEMBER + TEAM, ... Its numbers go from and to the rows
// through a region of shared memory.
DEVICE int task_of(int a) { return a * TEAM + MEMBER; }
DEVICE int row_of_task(int a) { return task_of(a) % ROWS; }
DEVICE int first_of_task(int a) { return row_of_task(a) / SLOTS * SLOTS; }  // row of the first token of its sequence
DEVICE int head_at(int a) { return task_of(a) / ROWS * EACH; }              // first column of its head

template <int N> DEVICE void take(const float* from, float (&x)[N]) {
    if (N % 4 == 0) UNROLL for (int i = 0; i < N; i += 4) {
        const float4 v = load4(from + i);
        x[i] = v.x; x[(i + 1) % N] = v.y; x[(i + 2) % N] = v.z; x[(i + 3) % N] = v.w;
    }
    else UNROLL for (int i = 0; i < N; ++i) x[i] = from[i];
}
DEVICE void take_tasks(const float* region, float (&x)[TASKS_EACH][EACH]) {
    EACH_TASK take(region + place(row_of_task(a)) + head_at(a), x[a]);
}
DEVICE void give_tasks(float* region, const float (&x)[TASKS_EACH][EACH]) {
    EACH_TASK UNROLL for (int e = 0; e < EACH; ++e) region[place(row_of_task(a)) + head_at(a) + e] = x[a][e];
}
template <int N> DEVICE float dot(const float (&a)[N], const float (&b)[N]) {
    float sum = 0.0f;
    UNROLL for (int i = 0; i < N; ++i) sum = fmaf(a[i], b[i], sum);
    return sum;
}

// Attention of q (already over its divisor), k and v, and the logarithm of the sum of exponentials by task, for the way back.
CALLED void attention(
    const float (&q)[ROWS_EACH][OWN], const float (&k)[ROWS_EACH][OWN], const float (&v)[ROWS_EACH][OWN],
    float (&mixed)[ROWS_EACH][OWN], float (&total)[TASKS_EACH], float* one, float* two
) {
    IN_SHARED(one); IN_SHARED(two);
    float query[TASKS_EACH][EACH], mix[TASKS_EACH][EACH] = {}, other[EACH];
    put(one, q);
    SYNC_TEAM();
    take_tasks(one, query);
    SYNC_TEAM();
    put(one, k);
    put(two, v);
    SYNC_TEAM();
    EACH_TASK {
        const int first = first_of_task(a), own = row_of_task(a) - first;
        float scores[TOKENS], top = -INFINITY, sum = 0.0f;
        UNROLL for (int j = 0; j < TOKENS; ++j) {
            take(one + place(first + j) + head_at(a), other);
            scores[j] = CAUSAL && j > own ? -INFINITY : dot(query[a], other);
            top = fmaxf(top, scores[j]);
        }
        UNROLL for (int j = 0; j < TOKENS; ++j) {
            scores[j] = quick_exp(scores[j] - top);
            sum += scores[j];
        }
        total[a] = logf(sum) + top;
        UNROLL for (int j = 0; j < TOKENS; ++j) {
            take(two + place(first + j) + head_at(a), other);
            UNROLL for (int e = 0; e < EACH; ++e) mix[a][e] = fmaf(scores[j], other[e], mix[a][e]);
        }
        const float part = 1.0f / sum;
        UNROLL for (int e = 0; e < EACH; ++e) mix[a][e] *= part;
    }
    SYNC_TEAM();
    give_tasks(one, mix);
    SYNC_TEAM();
    get(one, mixed);
    SYNC_TEAM();
}

// The gradients of `attention` in q, k and v. A task is first the one that asks (dq), then the one that is asked (dk, dv), and
// computes the shares again both times.
CALLED void attention_back(
    const float (&d)[ROWS_EACH][OWN], const float (&total)[TASKS_EACH], const float (&q)[ROWS_EACH][OWN],
    const float (&k)[ROWS_EACH][OWN], const float (&v)[ROWS_EACH][OWN], float (&dq)[ROWS_EACH][OWN],
    float (&dk)[ROWS_EACH][OWN], float (&dv)[ROWS_EACH][OWN], float* one, float* two, float* sums
) {
    IN_SHARED(one); IN_SHARED(two); IN_SHARED(sums);
    float query[TASKS_EACH][EACH], back[TASKS_EACH][EACH], key[TASKS_EACH][EACH], value[TASKS_EACH][EACH];
    float in_query[TASKS_EACH][EACH] = {}, in_key[TASKS_EACH][EACH] = {}, in_value[TASKS_EACH][EACH] = {}, other[EACH];
    put(one, q);
    put(two, d);
    SYNC_TEAM();
    take_tasks(one, query);
    take_tasks(two, back);
    SYNC_TEAM();
    put(one, k);
    put(two, v);
    SYNC_TEAM();
    take_tasks(one, key);
    take_tasks(two, value);
    EACH_TASK {
        const int first = first_of_task(a), own = row_of_task(a) - first;
        float share[TOKENS], slope[TOKENS], mean = 0.0f;
        UNROLL for (int j = 0; j < TOKENS; ++j) {
            take(one + place(first + j) + head_at(a), other);
            share[j] = CAUSAL && j > own ? 0.0f : quick_exp(dot(query[a], other) - total[a]);
            take(two + place(first + j) + head_at(a), other);
            slope[j] = dot(back[a], other);
            mean = fmaf(share[j], slope[j], mean);
        }
        UNROLL for (int j = 0; j < TOKENS; ++j) {
            take(one + place(first + j) + head_at(a), other);
            const float by = share[j] * (slope[j] - mean);
            UNROLL for (int e = 0; e < EACH; ++e) in_query[a][e] = fmaf(by, other[e], in_query[a][e]);
        }
        sums[2 * task_of(a)] = total[a];
        sums[2 * task_of(a) + 1] = mean;
    }
    SYNC_TEAM();
    put(one, q);
    put(two, d);
    SYNC_TEAM();
    EACH_TASK {
        const int first = first_of_task(a), own = row_of_task(a) - first;
        UNROLL for (int j = 0; j < TOKENS; ++j) {
            const float* sum = sums + 2 * (task_of(a) - own + j);
            take(one + place(first + j) + head_at(a), other);
            float share = quick_exp(dot(key[a], other) - sum[0]);
            if (own >= TOKENS || (CAUSAL && own > j)) share = 0.0f;
            float answer[EACH];
            take(two + place(first + j) + head_at(a), answer);
            const float slope = share * (dot(value[a], answer) - sum[1]);
            UNROLL for (int e = 0; e < EACH; ++e) {
                in_value[a][e] = fmaf(share, answer[e], in_value[a][e]);
                in_key[a][e] = fmaf(slope, other[e], in_key[a][e]);
            }
        }
    }
    SYNC_TEAM();
    give_tasks(one, in_query);
    give_tasks(two, in_key);
    SYNC_TEAM();
    get(one, dq);
    get(two, dk);
    SYNC_TEAM();
    give_tasks(one, in_value);
    SYNC_TEAM();
    get(one, dv);
    SYNC_TEAM();
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
"""The blocks; they need THREADS, ROWS_EACH, WIDTH, SLOTS, TOKENS, HEADS, EACH, CAUSAL, HIDDEN, SLICE, CLASSES and DIMENSION as
constants, and LANES, JOINED and WHOLE as macros."""
