"""The part of a fused CPU kernel that makes gradients of samples, for problems whose samples come from a stream.

The residual of a sample, x'e - v xi, is a sum over all blocks. So the step is outside the blocks here, and a job holds the whole
problem. With x = R z, R = V sqrt(lambda) of every block and z ~ N(0, I), everything that depends on a sample happens in the
coordinates d = R'e: the residual is z'd - v xi, the gradient R (sum_k r_k z_k)/b, and twice the gap is |d|^2. So no sample is
multiplied by R, and a tile of settings shares the draws, which are made by `sampling`.

Four samples or four coordinates at a time are accumulated in registers.

A rule's square roots and divisions are made in a unit of the processor of their own: for Adam 15 cycles a vector of settings and
a coordinate, beside 21 cycles of multiply-adds (AVX2, blocks of 8, b = 8). So products that do not need their results
stand next to them: the sums and the rows of the product with R directly before the update of their coordinates; and, after the
update of every four, d of four coordinates of the block before, which the next step needs. The processor looks some 250
instructions ahead, and fills its waits for divisions with these products.
"""

__all__ = [
    "SAMPLED_ARGUMENTS",
    "SAMPLED_ARRAYS",
    "SAMPLED_BEGIN",
    "SAMPLED_DECORATOR",
    "SAMPLED_FUNCTIONS",
    "SAMPLED_LOOP",
    "SAMPLES_AT_ONCE",
    "TURN",
]

SAMPLES_AT_ONCE = 32
"""Samples whose residuals are kept at a time: they and their z should stay in the first cache."""

_TURNED = "turned_, turned_size_, root_, turned_root_, error_, turned_from_, d_, turned_to_, twice_"

TURN = f"turn_({_TURNED})"
"""Called after the update of some coordinates."""

SAMPLED_DECORATOR = (
    'inside_ = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True, '
    "_nrt=False)"
)
"""Of a function that becomes a part of `run_`. It owns no array: counting references would take longer than its work."""

SAMPLED_FUNCTIONS = '''

@inside_
def turn_({TURNED}):
    """Write d = R'e of the next four coordinates of a block, or of one where fewer are left, and add the squares to twice_."""
    j_ = turned_[0]
    if j_ + 4 <= turned_size_:
        turned_[0] = j_ + 4
        a_, b_, c_, e_ = number_(0.0), number_(0.0), number_(0.0), number_(0.0)
        for i_ in range(turned_size_):
            x_ = load_(error_, turned_from_ + i_ * LANES_)
            row_ = turned_root_ + i_ * turned_size_ + j_
            a_ = fma_(spread_(pick_(root_, row_)), x_, a_)
            b_ = fma_(spread_(pick_(root_, row_ + 1)), x_, b_)
            c_ = fma_(spread_(pick_(root_, row_ + 2)), x_, c_)
            e_ = fma_(spread_(pick_(root_, row_ + 3)), x_, e_)
        to_ = turned_to_ + j_ * LANES_
        store_(d_, to_, a_)
        store_(d_, to_ + LANES_, b_)
        store_(d_, to_ + 2 * LANES_, c_)
        store_(d_, to_ + 3 * LANES_, e_)
        store_(twice_, 0, fma_(e_, e_, fma_(c_, c_, fma_(b_, b_, fma_(a_, a_, load_(twice_, 0))))))
    elif j_ < turned_size_:
        turned_[0] = j_ + 1
        a_ = number_(0.0)
        for i_ in range(turned_size_):
            entry_ = spread_(pick_(root_, turned_root_ + i_ * turned_size_ + j_))
            a_ = fma_(entry_, load_(error_, turned_from_ + i_ * LANES_), a_)
        store_(d_, turned_to_ + j_ * LANES_, a_)
        store_(twice_, 0, fma_(a_, a_, load_(twice_, 0)))


@inside_
def residuals_(samples_, z_, z_at_, even_, labels_, labels_at_, dimension_, d_, share_, left_):
    """Write the residuals of some samples, times share_, to left_."""
    factor_ = spread_(share_)
    k_ = 0
    while k_ + 4 <= samples_:
        at_ = z_at_ + k_ * even_
        a_ = -spread_(pick_(labels_, labels_at_ + k_))
        b_ = -spread_(pick_(labels_, labels_at_ + k_ + 1))
        c_ = -spread_(pick_(labels_, labels_at_ + k_ + 2))
        e_ = -spread_(pick_(labels_, labels_at_ + k_ + 3))
        for i_ in range(dimension_):
            x_ = load_(d_, i_ * LANES_)
            a_ = fma_(spread_(pick_(z_, at_ + i_)), x_, a_)
            b_ = fma_(spread_(pick_(z_, at_ + even_ + i_)), x_, b_)
            c_ = fma_(spread_(pick_(z_, at_ + 2 * even_ + i_)), x_, c_)
            e_ = fma_(spread_(pick_(z_, at_ + 3 * even_ + i_)), x_, e_)
        store_(left_, k_ * LANES_, a_ * factor_)
        store_(left_, (k_ + 1) * LANES_, b_ * factor_)
        store_(left_, (k_ + 2) * LANES_, c_ * factor_)
        store_(left_, (k_ + 3) * LANES_, e_ * factor_)
        k_ += 4
    while k_ < samples_:
        at_ = z_at_ + k_ * even_
        a_ = -spread_(pick_(labels_, labels_at_ + k_))
        for i_ in range(dimension_):
            a_ = fma_(spread_(pick_(z_, at_ + i_)), load_(d_, i_ * LANES_), a_)
        store_(left_, k_ * LANES_, a_ * factor_)
        k_ += 1


@inside_
def gather_(first_, last_, fresh_, samples_, z_, z_at_, even_, left_, sum_):
    """Add the residuals of some samples times their z to the sums of coordinates first_ to last_ - 1; fresh_: begin them."""
    i_ = first_
    while i_ + 4 <= last_:
        a_, b_, c_, e_ = number_(0.0), number_(0.0), number_(0.0), number_(0.0)
        if not fresh_:
            a_ = load_(sum_, i_ * LANES_)
            b_ = load_(sum_, (i_ + 1) * LANES_)
            c_ = load_(sum_, (i_ + 2) * LANES_)
            e_ = load_(sum_, (i_ + 3) * LANES_)
        for k_ in range(samples_):
            x_ = load_(left_, k_ * LANES_)
            at_ = z_at_ + k_ * even_ + i_
            a_ = fma_(spread_(pick_(z_, at_)), x_, a_)
            b_ = fma_(spread_(pick_(z_, at_ + 1)), x_, b_)
            c_ = fma_(spread_(pick_(z_, at_ + 2)), x_, c_)
            e_ = fma_(spread_(pick_(z_, at_ + 3)), x_, e_)
        store_(sum_, i_ * LANES_, a_)
        store_(sum_, (i_ + 1) * LANES_, b_)
        store_(sum_, (i_ + 2) * LANES_, c_)
        store_(sum_, (i_ + 3) * LANES_, e_)
        i_ += 4
    while i_ < last_:
        a_ = number_(0.0)
        if not fresh_:
            a_ = load_(sum_, i_ * LANES_)
        for k_ in range(samples_):
            a_ = fma_(spread_(pick_(z_, z_at_ + k_ * even_ + i_)), load_(left_, k_ * LANES_), a_)
        store_(sum_, i_ * LANES_, a_)
        i_ += 1
'''.replace("{TURNED}", _TURNED)
"""Functions of one block, of the samples of a step, and of both."""

SAMPLED_ARGUMENTS = f", width_, columns_, sum_, count_of_samples_, is_divided_, {_TURNED.replace('error_, ', '')}"
"""Arguments of a block's functions beside those of every kernel."""

SAMPLED_ARRAYS = "\n    outers_, widths_, drawn_, z_, labels_, scratch_, left_, turned_,"
"""Arguments of `run_` beside those of every kernel: which of the rule's blocks is the first one of each block of H, and the sizes
of the latter; z and v xi of the problems from `drawn_` on; room for d, sums, twice the gap, residuals, and
the next coordinate of d (an array that is allocated here would need Numba's runtime). `hessian_` holds R."""

SAMPLED_BEGIN = """\
    batch_, even_ = labels_.shape[2], z_.shape[3]
    draws_, errors_ = z_.reshape(-1), labels_.reshape(-1)
    d_, sum_ = scratch_[0], scratch_[1]
    root_ = hessian_
    twice_ = scratch_[2]
    count_of_samples_ = real_(batch_)
    # A product with the inverse of a power of 2 is the quotient: then the residuals, which are few, are multiplied.
    is_divided_ = batch_ & (batch_ - 1) != 0
    share_ = real_(1.0) if is_divided_ else real_(1.0) / count_of_samples_
"""

SAMPLED_LOOP = """\
            for next_step_ in range(steps_ + 1):
                step_ = next_step_ - 1  # d of step 0 comes before it, and that of step t + 1 with step t
                whole_ = (2 * job_ + step_ % 2) * dimension_ * LANES_
                other_ = (2 * job_ + next_step_ % 2) * dimension_ * LANES_
                samples_at_ = ((problem_ - drawn_) * total_ + t_ + step_) * batch_
                samples_, fresh_ = 0, True
                if step_ >= 0:
                    taken_ = 0
                    while taken_ < batch_:
                        if taken_ > 0:
                            gather_(0, dimension_, fresh_, samples_, draws_, samples_at_ * even_, even_, left_, sum_)
                            samples_at_ += samples_
                            fresh_ = False
                        samples_ = min(AT_ONCE_, batch_ - taken_)
                        residuals_(
                            samples_, draws_, samples_at_ * even_, even_, errors_, samples_at_, dimension_, d_, share_, left_,
                        )
                        taken_ += samples_
                store_(twice_, 0, number_(0.0))
                for outer_ in range(outers_.size):
                    # While a block is updated, d of the one before is made.
                    behind_ = outers_[max(outer_ - 1, 0)]
                    turned_root_ = problem_ * per_problem_ + entries_[behind_]
                    turned_to_ = coordinates_[behind_] * LANES_
                    turned_from_ = other_ + turned_to_
                    turned_[0] = 0
                    turned_size_ = widths_[outer_ - 1] if next_step_ < steps_ and outer_ > 0 else 0
                    if step_ >= 0 and outer_ < outers_.size - 1:
                        width_ = widths_[outer_]
                        columns_ = coordinates_[outers_[outer_]]
                        gather_(
                            columns_, columns_ + width_, fresh_, samples_, draws_, samples_at_ * even_, even_, left_, sum_,
                        )
                        columns_ *= LANES_
                        for block_ in range(outers_[outer_], outers_[outer_ + 1]):
                            size_ = sizes_[block_]
                            begins_ = coordinates_[block_]
                            hessian_at_ = problem_ * per_problem_ + entries_[block_]
                            extremes_at_ = 2 * (problem_ * blocks_ + block_)
                            minimizer_at_ = problem_ * dimension_ + begins_
                            table_at_ = (tile_ * total_ + t_ + step_) * STEP_VALUES_ * LANES_
                            now_ = whole_ + begins_ * LANES_
                            next_ = other_ + begins_ * LANES_
                            states_at_ = (STATES_ * job_ * dimension_ + begins_) * LANES_
                            block_states_at_ = (BLOCK_STATES_ * job_ * blocks_ + block_) * LANES_
                            <blocks>
                    while turned_[0] < turned_size_:
                        turn_(<turned>)
                if next_step_ < steps_:
                    store_(sums_, next_step_ * LANES_, load_(twice_, 0))""".replace("<turned>", _TURNED)
"""Takes the place of `<loop>` in `run_`."""
