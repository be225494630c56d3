"""The layer norm with its gain."""

__all__ = ["SOURCE"]

SOURCE = r"""
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
        square = sum_of_lanes(square);
        factor[r] = rsqrtf(square * (1.0f / WIDTH) + 1e-5f) + (square - square);  // squares that overflow: NaN, a divergence
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
"""
