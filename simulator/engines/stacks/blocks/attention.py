"""Attention among the tokens of a sequence, a head of a row at a time."""

__all__ = ["SOURCE"]

SOURCE = r"""
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
"""
