"""The building blocks of the fused kernels of stacks, in CUDA C++: each forward pass with its backward pass.

A chunk of data has a row for every token; thread t holds the rows t, t + THREADS, ... (ROWS_EACH of them). The rows of a sequence
follow one after the other and are filled up to a power of two (SLOTS). Parameters are in shared memory; their gradients are in
global memory, and the caches hold what is in use.

A product of rows with a matrix reads the matrix four numbers at a time, the same four in every thread. The gradient of a matrix
is a product over all rows of the chunk, written to shared memory for it (`put`); each thread adds up some of its numbers.
All arithmetic is in float32, and every sum has one order, so that a result is the same bits again.

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
#else
#include <cmath>
#define DEVICE static inline
#define CALLED static
#define SYNC()
#define THREAD 0
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
constexpr int ROWS = THREADS * ROWS_EACH;
constexpr int REGION = ROWS * (WIDTH + 4) + ROWS / SLOTS * 4;  // numbers of a region of shared memory for the rows

#define EACH_ROW UNROLL for (int r = 0; r < ROWS_EACH; ++r)

DEVICE float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }
DEVICE void store4(float* to, float4 x) { *reinterpret_cast<float4*>(to) = x; }
DEVICE int row_of(int r) { return r * THREADS + THREAD; }

// Place of a row in a region. The four numbers between two rows and between two sequences keep the threads of a warp, which
// read other rows or other sequences at the same time, in different banks.
DEVICE int place(int row) { return row * (WIDTH + 4) + row / SLOTS * 4; }

template <int N> DEVICE void put(float* region, const float (&x)[ROWS_EACH][N]) {
    EACH_ROW UNROLL for (int i = 0; i < N; i += 4)
        store4(region + place(row_of(r)) + i, float4{x[r][i], x[r][i + 1], x[r][i + 2], x[r][i + 3]});
}

template <int N> DEVICE void copy(const float (&x)[ROWS_EACH][N], float (&y)[ROWS_EACH][N]) {
    EACH_ROW UNROLL for (int i = 0; i < N; i += 4) store4(&y[r][i], load4(&x[r][i]));
}

template <int N> DEVICE float dot(const float* a, const float* b) {
    float sum = 0.0f;
    UNROLL for (int i = 0; i < N; ++i) sum = fmaf(a[i], b[i], sum);
    return sum;
}

// y += x W^T for a matrix W (O, I) whose rows are `stride` numbers apart.
//
// This and what follows may be called (CALLED), not copied to where they are used: the code of a step then fits in the
// instruction cache, but the rows of a thread pass through its local memory.
template <int O, int I>
CALLED void linear(const float* w, int stride, const float (&x_)[ROWS_EACH][I], float (&y_)[ROWS_EACH][O]) {
    alignas(16) float x[ROWS_EACH][I], y[ROWS_EACH][O];
    copy(x_, x);
    copy(y_, y);
    UNROLL for (int i = 0; i < I; i += 4) {
        float4 v[O];
        UNROLL for (int o = 0; o < O; ++o) v[o] = load4(w + o * stride + i);
        EACH_ROW UNROLL for (int o = 0; o < O; ++o) y[r][o] = fmaf(v[o].x, x[r][i], y[r][o]);
        EACH_ROW UNROLL for (int o = 0; o < O; ++o) y[r][o] = fmaf(v[o].y, x[r][i + 1], y[r][o]);
        EACH_ROW UNROLL for (int o = 0; o < O; ++o) y[r][o] = fmaf(v[o].z, x[r][i + 2], y[r][o]);
        EACH_ROW UNROLL for (int o = 0; o < O; ++o) y[r][o] = fmaf(v[o].w, x[r][i + 3], y[r][o]);
    }
    copy(y, y_);
}

// The gradient of `linear` in x: back += d W.
template <int O, int I>
CALLED void linear_back(const float* w, int stride, const float (&d_)[ROWS_EACH][O], float (&back_)[ROWS_EACH][I]) {
    alignas(16) float d[ROWS_EACH][O], back[ROWS_EACH][I];
    copy(d_, d);
    copy(back_, back);
    UNROLL for (int o = 0; o < O; ++o) UNROLL for (int i = 0; i < I; i += 4) {
        const float4 v = load4(w + o * stride + i);
        EACH_ROW {
            back[r][i] = fmaf(v.x, d[r][o], back[r][i]);
            back[r][i + 1] = fmaf(v.y, d[r][o], back[r][i + 1]);
            back[r][i + 2] = fmaf(v.z, d[r][o], back[r][i + 2]);
            back[r][i + 3] = fmaf(v.w, d[r][o], back[r][i + 3]);
        }
    }
    copy(back, back_);
}

// The gradient of `linear` in its matrix: total (O, I) += d^T x, from the regions of d and x, of which the rows below `limit` of
// the matrix are kept. A thread adds up TALL x 4 numbers over all rows of the chunk; TALL is such that every thread has some.
template <int O, int I>
CALLED void add_gradient(float* total, int stride, const float* d, const float* x, int limit = O) {
    constexpr int TALL = O * I >= 16 * THREADS ? 4 : O * I >= 8 * THREADS ? 2 : 1, TILES = (O / TALL) * (I / 4);
    SYNC();
    for (int tile = THREAD; tile < TILES; tile += THREADS) {
        const int o = tile / (I / 4) * TALL, i = tile % (I / 4) * 4;
        float4 sum[TALL];
        UNROLL for (int k = 0; k < TALL; ++k)
            sum[k] = o + k < limit ? load4(total + (o + k) * stride + i) : float4{0.0f, 0.0f, 0.0f, 0.0f};
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
    SYNC();
}

// Row `which` of a table for every row; -1 stands for no row, which is 0.
DEVICE void gather(const float* table, const int (&which)[ROWS_EACH], float (&x)[ROWS_EACH][WIDTH]) {
    EACH_ROW if (which[r] >= 0) UNROLL for (int i = 0; i < WIDTH; i += 4) {
        const float4 v = load4(table + which[r] * WIDTH + i);
        x[r][i] += v.x; x[r][i + 1] += v.y; x[r][i + 2] += v.z; x[r][i + 3] += v.w;
    }
}

// The gradient of a table of N rows from that of the rows that were read (in a region): a thread adds up four numbers of one
// row of the table, over the rows of the chunk that read it.
template <int N> CALLED void gather_back(float* total, const float* d, const int (&which)[ROWS_EACH], int* whiches) {
    EACH_ROW whiches[row_of(r)] = which[r];
    SYNC();
    for (int task = THREAD; task < N * (WIDTH / 4); task += THREADS) {
        const int row_of_table = task / (WIDTH / 4), i = task % (WIDTH / 4) * 4;
        float4 sum = load4(total + row_of_table * WIDTH + i);
        _Pragma("unroll 8") for (int row = 0; row < ROWS; ++row) if (whiches[row] == row_of_table) {
            const float4 v = load4(d + place(row) + i);
            sum.x += v.x; sum.y += v.y; sum.z += v.z; sum.w += v.w;
        }
        store4(total + row_of_table * WIDTH + i, sum);
    }
    SYNC();
}

// The layer norm: every row with mean 0 and variance 1, and what it was multiplied by.
DEVICE void norm(const float (&x)[ROWS_EACH][WIDTH], float (&normed)[ROWS_EACH][WIDTH], float (&factor)[ROWS_EACH]) {
    EACH_ROW {
        float mean = 0.0f, square = 0.0f;
        UNROLL for (int i = 0; i < WIDTH; ++i) mean += x[r][i];
        mean *= 1.0f / WIDTH;
        UNROLL for (int i = 0; i < WIDTH; ++i) {
            normed[r][i] = x[r][i] - mean;
            square = fmaf(normed[r][i], normed[r][i], square);
        }
        factor[r] = rsqrtf(square * (1.0f / WIDTH) + 1e-5f);
        UNROLL for (int i = 0; i < WIDTH; ++i) normed[r][i] *= factor[r];
    }
}

DEVICE void times(const float* gain, const float (&x)[ROWS_EACH][WIDTH], float (&y)[ROWS_EACH][WIDTH]) {
    UNROLL for (int i = 0; i < WIDTH; ++i) { const float v = gain[i]; EACH_ROW y[r][i] = x[r][i] * v; }
}

// The gradient of the norm and its gain in x (back += ...), and that of the gain, for which the region is used.
CALLED void norm_back(
    const float* gain, float* total, const float (&d)[ROWS_EACH][WIDTH], const float (&normed)[ROWS_EACH][WIDTH],
    const float (&factor)[ROWS_EACH], float (&back)[ROWS_EACH][WIDTH], float* region
) {
    alignas(16) float along[ROWS_EACH][WIDTH];
    EACH_ROW UNROLL for (int i = 0; i < WIDTH; ++i) along[r][i] = d[r][i] * normed[r][i];
    put(region, along);
    EACH_ROW {
        float mean = 0.0f, slope = 0.0f;
        UNROLL for (int i = 0; i < WIDTH; ++i) {
            mean = fmaf(d[r][i], gain[i], mean);
            slope = fmaf(along[r][i], gain[i], slope);
        }
        mean *= 1.0f / WIDTH;
        slope *= 1.0f / WIDTH;
        UNROLL for (int i = 0; i < WIDTH; ++i)
            back[r][i] += (d[r][i] * gain[i] - mean - normed[r][i] * slope) * factor[r];
    }
    SYNC();
    for (int i = THREAD; i < WIDTH; i += THREADS) {
        float sum = 0.0f;
        _Pragma("unroll 8") for (int row = 0; row < ROWS; ++row) sum += region[place(row) + i];
        total[i] += sum;
    }
    SYNC();
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

// Attention of q (already over its divisor), k and v, and the logarithm of the sum of exponentials by head, for the way back.
CALLED void attention(
    const float (&q)[ROWS_EACH][WIDTH], const float (&k)[ROWS_EACH][WIDTH], const float (&v)[ROWS_EACH][WIDTH],
    float (&mixed)[ROWS_EACH][WIDTH], float (&total)[ROWS_EACH][HEADS], float* keys, float* values
) {
    put(keys, k);
    put(values, v);
    SYNC();
    EACH_ROW {
        const int row = row_of(r), first = row / SLOTS * SLOTS;
        float scores[TOKENS][HEADS], top[HEADS];
        UNROLL for (int h = 0; h < HEADS; ++h) top[h] = -INFINITY;
        UNROLL for (int j = 0; j < TOKENS; ++j) UNROLL for (int h = 0; h < HEADS; ++h) {
            scores[j][h] = dot<EACH>(&q[r][h * EACH], keys + place(first + j) + h * EACH);
            if (CAUSAL && j > row - first) scores[j][h] = -INFINITY;
            top[h] = fmaxf(top[h], scores[j][h]);
        }
        UNROLL for (int h = 0; h < HEADS; ++h) {
            float sum = 0.0f;
            UNROLL for (int j = 0; j < TOKENS; ++j) {
                scores[j][h] = quick_exp(scores[j][h] - top[h]);
                sum += scores[j][h];
            }
            total[r][h] = logf(sum) + top[h];
            const float part = 1.0f / sum;
            UNROLL for (int e = 0; e < EACH; ++e) {
                float mix = 0.0f;
                UNROLL for (int j = 0; j < TOKENS; ++j)
                    mix = fmaf(scores[j][h], values[place(first + j) + h * EACH + e], mix);
                mixed[r][h * EACH + e] = mix * part;
            }
        }
    }
    SYNC();
}

// The gradients of `attention` in q, k and v. A thread is first the one that asks (dq), then the one that is asked (dk, dv), and
// computes the shares again both times.
CALLED void attention_back(
    const float (&d)[ROWS_EACH][WIDTH], const float (&mixed)[ROWS_EACH][WIDTH], const float (&total)[ROWS_EACH][HEADS],
    const float (&q)[ROWS_EACH][WIDTH], const float (&k)[ROWS_EACH][WIDTH], const float (&v)[ROWS_EACH][WIDTH],
    float (&dq)[ROWS_EACH][WIDTH], float (&dk)[ROWS_EACH][WIDTH], float (&dv)[ROWS_EACH][WIDTH], float* one, float* two,
    float* sums
) {
    float mean[ROWS_EACH][HEADS];
    put(one, k);
    put(two, v);
    SYNC();
    EACH_ROW {
        const int row = row_of(r), first = row / SLOTS * SLOTS;
        UNROLL for (int h = 0; h < HEADS; ++h) {
            mean[r][h] = dot<EACH>(&d[r][h * EACH], &mixed[r][h * EACH]);
            UNROLL for (int e = 0; e < EACH; ++e) dq[r][h * EACH + e] = 0.0f;
            UNROLL for (int j = 0; j < TOKENS; ++j) {
                const float *key = one + place(first + j) + h * EACH, *value = two + place(first + j) + h * EACH;
                float share = quick_exp(dot<EACH>(&q[r][h * EACH], key) - total[r][h]);
                if (CAUSAL && j > row - first) share = 0.0f;
                const float slope = share * (dot<EACH>(&d[r][h * EACH], value) - mean[r][h]);
                UNROLL for (int e = 0; e < EACH; ++e) dq[r][h * EACH + e] = fmaf(slope, key[e], dq[r][h * EACH + e]);
            }
        }
    }
    SYNC();
    put(one, q);
    put(two, d);
    EACH_ROW UNROLL for (int h = 0; h < HEADS; ++h) {
        sums[row_of(r) * 2 * HEADS + h] = total[r][h];
        sums[row_of(r) * 2 * HEADS + HEADS + h] = mean[r][h];
    }
    SYNC();
    EACH_ROW {
        const int row = row_of(r), first = row / SLOTS * SLOTS, own = row - first;
        UNROLL for (int h = 0; h < HEADS; ++h) {
            UNROLL for (int e = 0; e < EACH; ++e) dk[r][h * EACH + e] = dv[r][h * EACH + e] = 0.0f;
            UNROLL for (int j = 0; j < TOKENS; ++j) {
                const float *query = one + place(first + j) + h * EACH, *back = two + place(first + j) + h * EACH;
                const float* sum = sums + (first + j) * 2 * HEADS + h;
                float share = quick_exp(dot<EACH>(&k[r][h * EACH], query) - sum[0]);
                if (own >= TOKENS || (CAUSAL && own > j)) share = 0.0f;
                const float slope = share * (dot<EACH>(&v[r][h * EACH], back) - sum[HEADS]);
                UNROLL for (int e = 0; e < EACH; ++e) {
                    dv[r][h * EACH + e] = fmaf(share, back[e], dv[r][h * EACH + e]);
                    dk[r][h * EACH + e] = fmaf(slope, query[e], dk[r][h * EACH + e]);
                }
            }
        }
    }
    SYNC();
}

// The network of a layer, y += W2 gelu(W1 x), slice by slice of its hidden numbers.
CALLED void network(
    const float* w1, const float* w2, const float (&x)[ROWS_EACH][WIDTH], float (&y)[ROWS_EACH][WIDTH]
) {
    _Pragma("unroll 1") for (int s = 0; s < HIDDEN; s += SLICE) {
        alignas(16) float h[ROWS_EACH][SLICE] = {};
        linear<SLICE, WIDTH>(w1 + s * WIDTH, WIDTH, x, h);
        EACH_ROW UNROLL for (int i = 0; i < SLICE; ++i) h[r][i] = gelu(h[r][i]);
        linear<WIDTH, SLICE>(w2 + s, HIDDEN, h, y);
    }
}

// The gradients of `network` in x (back += ...), w1 and w2; the hidden numbers are computed again.
CALLED void network_back(
    const float* w1, const float* w2, float* total1, float* total2, const float (&d)[ROWS_EACH][WIDTH],
    const float (&x)[ROWS_EACH][WIDTH], float (&back)[ROWS_EACH][WIDTH], float* one, float* two
) {
    _Pragma("unroll 1") for (int s = 0; s < HIDDEN; s += SLICE) {
        alignas(16) float h[ROWS_EACH][SLICE] = {}, a[ROWS_EACH][SLICE], dh[ROWS_EACH][SLICE] = {};
        linear<SLICE, WIDTH>(w1 + s * WIDTH, WIDTH, x, h);
        linear_back<WIDTH, SLICE>(w2 + s, HIDDEN, d, dh);
        EACH_ROW UNROLL for (int i = 0; i < SLICE; ++i) {
            float slope;
            a[r][i] = gelu(h[r][i], slope);
            dh[r][i] *= slope;
        }
        put(one, d);
        put(two, a);
        add_gradient<WIDTH, SLICE>(total2 + s, HIDDEN, one, two);
        linear_back<SLICE, WIDTH>(w1 + s * WIDTH, WIDTH, dh, back);
        put(one, dh);
        put(two, x);
        add_gradient<SLICE, WIDTH>(total1 + s * WIDTH, WIDTH, one, two);
    }
}

// The logits of the classes from `first` on; minus infinity beyond the last class. The head is the last parameter, and what is
// read beyond its last row is a region of rows; it counts for nothing.
DEVICE void logits_of(const float* w, int first, const float (&x)[ROWS_EACH][WIDTH], float (&logits)[ROWS_EACH][SLICE]) {
    linear<SLICE, WIDTH>(w + first * WIDTH, WIDTH, x, logits);
    UNROLL for (int c = 0; c < SLICE; ++c) if (first + c >= CLASSES) EACH_ROW logits[r][c] = -INFINITY;
}

// The head with the cross-entropy of every row, and the gradient of its sum with these weights in x (back += ...) and the head.
CALLED void answer(
    const float* w, float* total, const float (&x)[ROWS_EACH][WIDTH], const int (&target)[ROWS_EACH],
    const float (&weight)[ROWS_EACH], float (&loss)[ROWS_EACH], float (&back)[ROWS_EACH][WIDTH], float* one, float* two
) {
    float top[ROWS_EACH], sum[ROWS_EACH], right[ROWS_EACH];
    EACH_ROW { top[r] = -INFINITY; sum[r] = 0.0f; right[r] = 0.0f; }
    _Pragma("unroll 1") for (int first = 0; first < CLASSES; first += SLICE) {
        alignas(16) float logits[ROWS_EACH][SLICE] = {};
        logits_of(w, first, x, logits);
        EACH_ROW {
            float now = top[r];
            UNROLL for (int c = 0; c < SLICE; ++c) now = fmaxf(now, logits[r][c]);
            sum[r] *= quick_exp(top[r] - now);
            UNROLL for (int c = 0; c < SLICE; ++c) {
                sum[r] += quick_exp(logits[r][c] - now);
                if (first + c == target[r]) right[r] = logits[r][c];
            }
            top[r] = now;
        }
    }
    EACH_ROW { sum[r] = logf(sum[r]) + top[r]; loss[r] = sum[r] - right[r]; }
    put(two, x);
    _Pragma("unroll 1") for (int first = 0; first < CLASSES; first += SLICE) {
        alignas(16) float d[ROWS_EACH][SLICE] = {};
        logits_of(w, first, x, d);
        EACH_ROW UNROLL for (int c = 0; c < SLICE; ++c)
            d[r][c] = (quick_exp(d[r][c] - sum[r]) - (first + c == target[r] ? 1.0f : 0.0f)) * weight[r];
        linear_back<SLICE, WIDTH>(w + first * WIDTH, WIDTH, d, back);
        put(one, d);
        add_gradient<SLICE, WIDTH>(total + first * WIDTH, WIDTH, one, two, CLASSES - first);
    }
}

// The mean over the tokens of a sequence in every row of the sequence; the way back is the same function of the gradient, which
// is 0 in all rows but one.
DEVICE void mean_of_sequence(const float (&x)[ROWS_EACH][WIDTH], float (&y)[ROWS_EACH][WIDTH], float* region) {
    put(region, x);
    SYNC();
    EACH_ROW {
        const int first = row_of(r) / SLOTS * SLOTS;
        const bool real = row_of(r) - first < TOKENS;
        UNROLL for (int i = 0; i < WIDTH; ++i) {
            float sum = 0.0f;
            for (int j = 0; j < TOKENS; ++j) sum += region[place(first + j) + i];
            y[r][i] = real ? sum * (1.0f / TOKENS) : 0.0f;
        }
    }
    SYNC();
}

DEVICE float sum_of_threads(float x, float* room) {
    room[THREAD] = x;
    SYNC();
    float sum = 0.0f;
    _Pragma("unroll 8") for (int t = 0; t < THREADS; ++t) sum += room[t];
    SYNC();
    return sum;
}
"""
"""The blocks; they need THREADS, ROWS_EACH, WIDTH, SLOTS, TOKENS, HEADS, EACH, CAUSAL, HIDDEN, SLICE and CLASSES as constants."""
