"""Gradients of the fused kernels of stacks where a block of threads holds all rows of a step at once, in CUDA C++.

Then the gradient of a parameter is complete as soon as it is computed: no team adds up a gradient of its own, none is stored, and
the rule takes its step at once. The teams lay the factors of a product side by side in their regions of shared memory (six
columns of WIDTH numbers); after a barrier each one computes tiles of 16 x 16 numbers of the gradient, over the rows of all teams,
and advances the parameters of its tiles. A second barrier ends the reading. By then all teams have used these parameters for the
last time in this step.

The gain of a norm is the exception: each team keeps its sum, and they are added up when the pass is over.
"""

__all__ = ["WHOLE_BLOCKS"]

WHOLE_BLOCKS = r"""
// A tile of a gradient: the product of a column of 16 numbers of d with one of x, over all rows, is that of the coordinates from
// `begin` on, whose rows are `stride` apart. Rows from `limit` on are not there. For a table, d is instead the row of the table
// that is read, minus `first`.
struct Tile { const float *d, *x; int begin, stride, limit, first; };

// c[i] (16, 8) = the product of a tile. Row 2 GROUP + h of the tile is row GROUP + 8 h of the fragment, and column 2 n + i is
// column n of fragment i: so a thread reads pairs of numbers, and has four neighbours of two rows of the result.
template <bool TABLE> DEVICE void product_of_tile(const Tile& tile, float (&c)[2][4]) {
    float odd[2][4] = {}, small[2][4] = {};
    _Pragma("unroll 2") for (int k = 0; k < TEAMS * ROWS / 8; ++k) {
        const int at = k / (ROWS / 8) * TEAM_NUMBERS + place(k % (ROWS / 8) * 8 + LANE);
        Parts a[4], b[2][2];
        UNROLL for (int j = 0; j < 2; ++j) {
            const float2 x = load2(tile.x + at + 4 * j * APART + 2 * GROUP);
            b[0][j] = parts(x.x); b[1][j] = parts(x.y);
            if (TABLE) {
                const int which = __float_as_int(tile.d[at + 4 * j * APART]) - tile.first - 2 * GROUP;
                a[2 * j].high = which == 0 ? 0x3f800000u : 0u;
                a[2 * j + 1].high = which == 1 ? 0x3f800000u : 0u;
            } else {
                const float2 d = load2(tile.d + at + 4 * j * APART + 2 * GROUP);
                a[2 * j] = parts(d.x); a[2 * j + 1] = parts(d.y);
            }
        }
        UNROLL for (int i = 0; i < 2; ++i) {
            float (&sum)[4] = k % 2 == 0 ? c[i] : odd[i];
            if (TABLE) {
                multiply_parts(sum, a[0].high, a[1].high, a[2].high, a[3].high, b[i][0].low, b[i][1].low);
                multiply_parts(sum, a[0].high, a[1].high, a[2].high, a[3].high, b[i][0].high, b[i][1].high);
            } else multiply(sum, small[i], a, b[i]);
        }
    }
    UNROLL for (int i = 0; i < 2; ++i) UNROLL for (int j = 0; j < 4; ++j) c[i][j] += odd[i][j] + small[i][j];
}

// What a rule does with four coordinates: load their states, and take their step.
template <typename Load, typename Advance> struct RuleOf { const Load& load; const Advance& advance; };
template <typename Load, typename Advance> DEVICE RuleOf<Load, Advance> rule_of(const Load& load, const Advance& advance) {
    return {load, advance};
}

// Tiles of gradients, spread over the teams, and the steps of their coordinates. `rule.load` reads the states of four
// coordinates: before the first barrier, as they take a thousand cycles from memory.
template <bool TABLE, typename TileOf, typename Rule> DEVICE void take_tiles(int tiles, TileOf tile_of, const Rule& rule) {
    const int team = THREAD / TEAM;
    alignas(16) float old[2][STATES + 1][4];
    const auto begin_of = [&](const Tile& tile, int h) { return tile.begin + (2 * GROUP + h) * tile.stride + 4 * LANE; };
    const auto load = [&](const Tile& tile) {
        UNROLL for (int h = 0; h < 2; ++h) if (2 * GROUP + h < tile.limit) rule.load(begin_of(tile, h), old[h]);
    };
    if (team < tiles) load(tile_of(team));
    SYNC();
    for (int t = team; t < tiles; t += TEAMS) {
        const Tile tile = tile_of(t);
        if (t != team) load(tile);
        float c[2][4] = {};
        product_of_tile<TABLE>(tile, c);
        UNROLL for (int h = 0; h < 2; ++h) if (2 * GROUP + h < tile.limit) {
            alignas(16) const float gradient[4] = {c[0][2 * h], c[1][2 * h], c[0][2 * h + 1], c[1][2 * h + 1]};
            rule.advance(begin_of(tile, h), gradient, old[h]);
        }
    }
    SYNC();
}

// Matrices (WIDTH, WIDTH) that follow one after the other, the first from `begin` on: d of matrix m is column m of the regions,
// x is column `column_of_x(m)`. `all` is the region of the first team.
template <int NUMBER, typename Column, typename Rule>
DEVICE void take_matrices(const float* all, int begin, Column column_of_x, const Rule& rule) {
    constexpr int SIDE = WIDTH / 16;
    take_tiles<false>(NUMBER * SIDE * SIDE, [&](int t) {
        const int m = t / (SIDE * SIDE), o = t / SIDE % SIDE, i = t % SIDE;
        return Tile{all + m * WIDTH + 16 * o, all + column_of_x(m) * WIDTH + 16 * i,
                    begin + (m * WIDTH + 16 * o) * WIDTH + 16 * i, WIDTH, 16, 0};
    }, rule);
}

// The tables of tokens and positions, from the gradient of the rows that were read.
template <typename Rule>
DEVICE void take_tables(
    float* one, const float* all, int tokens_begin, int positions_begin, const float (&d)[ROWS_EACH][OWN],
    const int (&token)[ROWS_EACH], const int (&position)[ROWS_EACH], const Rule& rule
) {
    constexpr int SIDE = WIDTH / 16, FIRST = (INPUTS + 15) / 16 * SIDE, SECOND = (TOKENS + 15) / 16 * SIDE;
    put(one, d);
    if (LANE == 0) EACH_ROW
        store2(one + WIDTH + place(row_of(r)), float2{__int_as_float(token[r]), __int_as_float(position[r])});
    take_tiles<true>(FIRST + SECOND, [&](int t) {
        const int second = t >= FIRST, o = (t - second * FIRST) / SIDE * 16, i = t % SIDE * 16;
        return Tile{all + WIDTH + second, all + i, (second ? positions_begin : tokens_begin) + o * WIDTH + i, WIDTH,
                    (second ? TOKENS : INPUTS) - o, o};
    }, rule);
}

// `network_back` with the steps of both matrices, two slices of hidden numbers at a time.
template <typename Rule>
CALLED void network_back_whole(
    const float* w1, const float* w2, int begin1, int begin2, const float (&d)[ROWS_EACH][OWN],
    const float (&x)[ROWS_EACH][OWN], float (&back)[ROWS_EACH][OWN], float* one, const float* all, const Rule& rule
) {
    IN_SHARED(w1); IN_SHARED(w2); IN_SHARED(one); IN_SHARED(all);
    constexpr int SIDE = WIDTH / 16;
    put(one, d);
    put(one + WIDTH, x);
    _Pragma("unroll 1") for (int s = 0; s < HIDDEN; s += 2 * SLICE) {
        UNROLL for (int half = 0; half < 2; ++half) {
            const int at = s + half * SLICE;
            float h[ROWS_EACH][SLICE / LANES] = {}, dh[ROWS_EACH][SLICE / LANES] = {};
            linear<SLICE, WIDTH>(w1 + padded(at * WIDTH), WIDTH, x, h);
            linear_back<WIDTH, SLICE>(w2 + padded(at), HIDDEN, d, dh);
            EACH_ROW UNROLL for (int i = 0; i < SLICE / LANES; ++i) {
                float slope;
                h[r][i] = gelu(h[r][i], slope);
                dh[r][i] *= slope;
            }
            linear_back<SLICE, WIDTH>(w1 + padded(at * WIDTH), WIDTH, dh, back);
            put(one + (2 + half) * WIDTH, h);
            put(one + (4 + half) * WIDTH, dh);
        }
        take_tiles<false>(4 * SIDE, [&](int t) {
            const int half = t / (2 * SIDE), first = t / SIDE % 2, i = t % SIDE * 16, at = s + half * SLICE;
            return first ? Tile{all + (4 + half) * WIDTH, all + WIDTH + i, begin1 + at * WIDTH + i, WIDTH, 16, 0}
                         : Tile{all + i, all + (2 + half) * WIDTH, begin2 + i * HIDDEN + at, HIDDEN, 16, 0};
        }, rule);
    }
}

// The second half of `answer`: the gradient of the head, with its step, four slices of classes at a time.
template <typename Rule>
DEVICE void answer_back_whole(
    const float* w, int begin, const float (&x)[ROWS_EACH][OWN], const int (&target)[ROWS_EACH],
    const float (&weight)[ROWS_EACH], const float (&sum)[ROWS_EACH], float (&back)[ROWS_EACH][OWN], float* one,
    const float* all, const Rule& rule
) {
    IN_SHARED(w); IN_SHARED(one); IN_SHARED(all);
    constexpr int SIDE = WIDTH / 16, SLICES = (CLASSES + SLICE - 1) / SLICE, ONCE = SLICES < 4 ? SLICES : 4;
    put(one + 5 * WIDTH, x);
    _Pragma("unroll 1") for (int first = 0; first < SLICES; first += ONCE) {
        UNROLL for (int s = 0; s < ONCE; ++s) {
            float d[ROWS_EACH][SLICE / LANES] = {};
            if (first + s < SLICES) gradient_of_logits(w, (first + s) * SLICE, x, target, weight, sum, d, back);
            put(one + s * WIDTH, d);
        }
        take_tiles<false>(ONCE * SIDE, [&](int t) {
            const int s = t / SIDE, i = t % SIDE * 16, at = (first + s) * SLICE;
            return Tile{all + s * WIDTH, all + 5 * WIDTH + i, begin + at * WIDTH + i, WIDTH, CLASSES - at, 0};
        }, rule);
    }
}

// The step of four coordinates of a gain, from the sums of the teams.
template <typename Rule> DEVICE void take_gain(const float* sums, int begin, int i, const Rule& rule) {
    alignas(16) float old[STATES + 1][4], gradient[4];
    rule.load(begin + i, old);
    float4 sum = load4(sums + i);
    UNROLL for (int team = 1; team < TEAMS; ++team) {
        const float4 v = load4(sums + team * WIDTH + i);
        sum.x += v.x; sum.y += v.y; sum.z += v.z; sum.w += v.w;
    }
    store4(gradient, sum);
    rule.advance(begin + i, gradient, old);
}
"""
"""The blocks; they need those of `blocks.BLOCKS` with LANES = 4, and STATES, the number of states of the rule."""
