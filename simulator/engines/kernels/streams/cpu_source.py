"""The part of a fused CPU kernel that makes gradients of samples, for problems whose samples come from a stream.

The residual of a sample, x'e - v xi, is a sum over all blocks. So the step is outside the blocks here, and a job holds the whole
problem. `sampling` makes x = R z once for all settings of a problem, and divides x and v xi by the square root of the batch. By
the residuals r_k = x_k'e - v xi_k of these, the gradient is sum_k r_k x_k: the kernel multiplies nothing by R, and divides
nothing by the batch. Twice the gap is |T'e|^2 with a triangular T, T T' = H, which `hessian_` holds.

Four samples or four coordinates at a time are accumulated in registers. With blocks of 8 and b = 8, a coordinate of a vector of
settings takes 21.5 multiply-adds, and Adam 8 more operations of the same units. Adam's square root and division take 14 cycles of
another unit (AVX2). So products that do not need their results stand next to the updates: `settle_` takes the new errors of a
block to the residuals of the next step, and to the gap, while the next block is updated.
"""

__all__ = [
    "SAMPLED_ARGUMENTS",
    "SAMPLED_ARRAYS",
    "SAMPLED_BEGIN",
    "SAMPLED_DECORATOR",
    "SAMPLED_FUNCTIONS",
    "SAMPLED_LOOP",
]

SAMPLED_DECORATOR = (
    'inside_ = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True, '
    "_nrt=False)"
)
"""Of a function that becomes a part of `run_`. It owns no array: counting references would take longer than its work."""

SAMPLED_FUNCTIONS = '''

@inside_
def settle_(size_, root_, root_at_, error_, error_at_, samples_, x_, x_at_, stride_, left_, left_at_, twice_):
    """Add the products of some samples with the errors of a block to the residuals at left_at_, and |T'e|^2 to twice_."""
    j_ = 0
    while j_ + 4 <= size_:
        to_ = error_at_ + j_ * LANES_
        e_, f_ = load_(error_, to_), load_(error_, to_ + LANES_)
        g_, h_ = load_(error_, to_ + 2 * LANES_), load_(error_, to_ + 3 * LANES_)
        for k_ in range(samples_):
            at_ = x_at_ + k_ * stride_ + j_
            a_ = load_(left_, left_at_ + k_ * LANES_)
            a_ = fma_(spread_(pick_(x_, at_)), e_, a_)
            a_ = fma_(spread_(pick_(x_, at_ + 1)), f_, a_)
            a_ = fma_(spread_(pick_(x_, at_ + 2)), g_, a_)
            a_ = fma_(spread_(pick_(x_, at_ + 3)), h_, a_)
            store_(left_, left_at_ + k_ * LANES_, a_)
        a_, b_, c_, d_ = number_(0.0), number_(0.0), number_(0.0), number_(0.0)
        for i_ in range(j_):
            row_ = root_at_ + i_ * size_ + j_
            y_ = load_(error_, error_at_ + i_ * LANES_)
            a_ = fma_(spread_(pick_(root_, row_)), y_, a_)
            b_ = fma_(spread_(pick_(root_, row_ + 1)), y_, b_)
            c_ = fma_(spread_(pick_(root_, row_ + 2)), y_, c_)
            d_ = fma_(spread_(pick_(root_, row_ + 3)), y_, d_)
        row_ = root_at_ + j_ * size_ + j_
        a_ = fma_(spread_(pick_(root_, row_)), e_, a_)
        b_ = fma_(spread_(pick_(root_, row_ + 1)), e_, b_)
        c_ = fma_(spread_(pick_(root_, row_ + 2)), e_, c_)
        d_ = fma_(spread_(pick_(root_, row_ + 3)), e_, d_)
        b_ = fma_(spread_(pick_(root_, row_ + size_ + 1)), f_, b_)
        c_ = fma_(spread_(pick_(root_, row_ + size_ + 2)), f_, c_)
        d_ = fma_(spread_(pick_(root_, row_ + size_ + 3)), f_, d_)
        c_ = fma_(spread_(pick_(root_, row_ + 2 * size_ + 2)), g_, c_)
        d_ = fma_(spread_(pick_(root_, row_ + 2 * size_ + 3)), g_, d_)
        d_ = fma_(spread_(pick_(root_, row_ + 3 * size_ + 3)), h_, d_)
        store_(twice_, 0, fma_(d_, d_, fma_(c_, c_, fma_(b_, b_, fma_(a_, a_, load_(twice_, 0))))))
        j_ += 4
    while j_ < size_:
        e_ = load_(error_, error_at_ + j_ * LANES_)
        for k_ in range(samples_):
            a_ = load_(left_, left_at_ + k_ * LANES_)
            store_(left_, left_at_ + k_ * LANES_, fma_(spread_(pick_(x_, x_at_ + k_ * stride_ + j_)), e_, a_))
        a_ = number_(0.0)
        for i_ in range(j_ + 1):
            entry_ = spread_(pick_(root_, root_at_ + i_ * size_ + j_))
            a_ = fma_(entry_, load_(error_, error_at_ + i_ * LANES_), a_)
        store_(twice_, 0, fma_(a_, a_, load_(twice_, 0)))
        j_ += 1
'''

SAMPLED_ARGUMENTS = ", x_, x_at_, stride_, samples_, left_, left_at_"
"""Arguments of a block's functions beside those of every kernel."""

SAMPLED_ARRAYS = "\n    outers_, widths_, drawn_, all_x_, all_labels_, left_, twice_,"
"""Arguments of `run_` beside those of every kernel: which of the rule's blocks is the first one of each block of H, and the sizes
of the latter; x and v xi of the problems from `drawn_` on; room for the residuals of two steps, and for twice the gap (an array
that is allocated here would need Numba's runtime)."""

SAMPLED_BEGIN = """\
    samples_, stride_ = all_x_.shape[2], all_x_.shape[3]
    x_, labels_ = all_x_.reshape(-1), all_labels_.reshape(-1)
"""

SAMPLED_LOOP = """\
            now_at_ = job_ * dimension_ * LANES_
            for next_step_ in range(steps_ + 1):
                # The residuals of the first step come before it, and those of a step t + 1 with the updates of step t.
                step_ = next_step_ - 1
                next_sample_ = ((problem_ - drawn_) * total_ + t_ + min(next_step_, steps_ - 1)) * samples_
                next_left_ = next_step_ % 2 * samples_ * LANES_
                for k_ in range(samples_):
                    store_(left_, next_left_ + k_ * LANES_, -spread_(pick_(labels_, next_sample_ + k_)))
                store_(twice_, 0, number_(0.0))
                for outer_ in range(outers_.size):
                    if step_ >= 0 and outer_ < outers_.size - 1:
                        left_at_ = step_ % 2 * samples_ * LANES_
                        for block_ in range(outers_[outer_], outers_[outer_ + 1]):
                            size_ = sizes_[block_]
                            begins_ = coordinates_[block_]
                            hessian_at_ = 0  # not used
                            extremes_at_ = 2 * (problem_ * blocks_ + block_)
                            minimizer_at_ = problem_ * dimension_ + begins_
                            table_at_ = (tile_ * total_ + t_ + step_) * STEP_VALUES_ * LANES_
                            now_ = next_ = now_at_ + begins_ * LANES_
                            states_at_ = (STATES_ * job_ * dimension_ + begins_) * LANES_
                            block_states_at_ = (BLOCK_STATES_ * job_ * blocks_ + block_) * LANES_
                            x_at_ = ((problem_ - drawn_) * total_ + t_ + step_) * samples_ * stride_ + begins_
                            <blocks>
                    if outer_ > 0:  # the block before, whose updates are under way
                        settled_ = outers_[outer_ - 1]
                        settle_(
                            widths_[outer_ - 1], hessian_, problem_ * per_problem_ + entries_[settled_], error_,
                            now_at_ + coordinates_[settled_] * LANES_, samples_, x_,
                            next_sample_ * stride_ + coordinates_[settled_], stride_, left_, next_left_, twice_,
                        )
                if next_step_ < steps_:
                    store_(sums_, next_step_ * LANES_, load_(twice_, 0))"""
"""Takes the place of `<loop>` in `run_`."""
