"""The part of a fused CPU kernel that makes gradients of samples, for problems whose samples come from a stream.

The residual of a sample, x'e - v xi, is a sum over all blocks. So the step is outside the blocks here, and a job holds the whole
problem. With x = R z, R = V sqrt(lambda) of every block and z ~ N(0, I), everything that depends on a sample happens in the
coordinates d = R'e: the residual is z'd - v xi, the gradient R (sum_k r_k z_k)/b, and twice the gap is |d|^2. So no sample is
multiplied by R, and a tile of settings shares the draws, which are made by `sampling`.

Four samples or four coordinates at a time are accumulated in registers.
"""

__all__ = ["SAMPLE", "SAMPLED_ARRAYS", "SAMPLED_BEGIN", "SAMPLED_LOOP"]

SAMPLE = '''

@part_
def sample_(blocks_, sizes_, coordinates_, entries_, root_, root_at_, error_, now_, batch_, z_, z_at_, even_, labels_, labels_at_,
            dimension_, d_, sum_, seen_):
    """Write the gradient of the samples of one step to seen_ and return twice the gap."""
    twice_ = number_(0.0)
    for block_ in range(blocks_):
        size_ = sizes_[block_]
        begins_ = coordinates_[block_]
        base_ = root_at_ + entries_[block_]
        j_ = 0
        while j_ + 4 <= size_:
            a_, b_, c_, e_ = number_(0.0), number_(0.0), number_(0.0), number_(0.0)
            for i_ in range(size_):
                x_ = load_(error_, now_ + (begins_ + i_) * LANES_)
                row_ = base_ + i_ * size_ + j_
                a_ = fma_(spread_(pick_(root_, row_)), x_, a_)
                b_ = fma_(spread_(pick_(root_, row_ + 1)), x_, b_)
                c_ = fma_(spread_(pick_(root_, row_ + 2)), x_, c_)
                e_ = fma_(spread_(pick_(root_, row_ + 3)), x_, e_)
            store_(d_, (begins_ + j_) * LANES_, a_)
            store_(d_, (begins_ + j_ + 1) * LANES_, b_)
            store_(d_, (begins_ + j_ + 2) * LANES_, c_)
            store_(d_, (begins_ + j_ + 3) * LANES_, e_)
            twice_ = fma_(e_, e_, fma_(c_, c_, fma_(b_, b_, fma_(a_, a_, twice_))))
            j_ += 4
        while j_ < size_:
            a_ = number_(0.0)
            for i_ in range(size_):
                a_ = fma_(spread_(pick_(root_, base_ + i_ * size_ + j_)), load_(error_, now_ + (begins_ + i_) * LANES_), a_)
            store_(d_, (begins_ + j_) * LANES_, a_)
            twice_ = fma_(a_, a_, twice_)
            j_ += 1
    for i_ in range(dimension_):
        store_(sum_, i_ * LANES_, number_(0.0))
    k_ = 0
    while k_ + 4 <= batch_:
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
        for i_ in range(dimension_):
            x_ = load_(sum_, i_ * LANES_)
            x_ = fma_(spread_(pick_(z_, at_ + i_)), a_, x_)
            x_ = fma_(spread_(pick_(z_, at_ + even_ + i_)), b_, x_)
            x_ = fma_(spread_(pick_(z_, at_ + 2 * even_ + i_)), c_, x_)
            x_ = fma_(spread_(pick_(z_, at_ + 3 * even_ + i_)), e_, x_)
            store_(sum_, i_ * LANES_, x_)
        k_ += 4
    while k_ < batch_:
        at_ = z_at_ + k_ * even_
        a_ = -spread_(pick_(labels_, labels_at_ + k_))
        for i_ in range(dimension_):
            a_ = fma_(spread_(pick_(z_, at_ + i_)), load_(d_, i_ * LANES_), a_)
        for i_ in range(dimension_):
            store_(sum_, i_ * LANES_, fma_(spread_(pick_(z_, at_ + i_)), a_, load_(sum_, i_ * LANES_)))
        k_ += 1
    count_ = spread_(real_(batch_))
    for block_ in range(blocks_):
        size_ = sizes_[block_]
        begins_ = coordinates_[block_]
        base_ = root_at_ + entries_[block_]
        i_ = 0
        while i_ + 4 <= size_:
            a_, b_, c_, e_ = number_(0.0), number_(0.0), number_(0.0), number_(0.0)
            row_ = base_ + i_ * size_
            for j_ in range(size_):
                x_ = load_(sum_, (begins_ + j_) * LANES_)
                a_ = fma_(spread_(pick_(root_, row_ + j_)), x_, a_)
                b_ = fma_(spread_(pick_(root_, row_ + size_ + j_)), x_, b_)
                c_ = fma_(spread_(pick_(root_, row_ + 2 * size_ + j_)), x_, c_)
                e_ = fma_(spread_(pick_(root_, row_ + 3 * size_ + j_)), x_, e_)
            store_(seen_, (begins_ + i_) * LANES_, a_ / count_)
            store_(seen_, (begins_ + i_ + 1) * LANES_, b_ / count_)
            store_(seen_, (begins_ + i_ + 2) * LANES_, c_ / count_)
            store_(seen_, (begins_ + i_ + 3) * LANES_, e_ / count_)
            i_ += 4
        while i_ < size_:
            a_ = number_(0.0)
            for j_ in range(size_):
                a_ = fma_(spread_(pick_(root_, base_ + i_ * size_ + j_)), load_(sum_, (begins_ + j_) * LANES_), a_)
            store_(seen_, (begins_ + i_) * LANES_, a_ / count_)
            i_ += 1
    return twice_
'''
"""The function that makes the gradient of a step."""

SAMPLED_ARRAYS = "\n    outers_, places_, roots_at_, drawn_, z_, labels_, scratch_,"
"""Arguments of `run_` beside those of every kernel: sizes, coordinates and entries of the blocks of H; z and v xi of the problems
from `drawn_` on; room for d, sums and the gradient. The place of `hessian_` is taken by R."""

SAMPLED_BEGIN = """\
    batch_, even_ = labels_.shape[2], z_.shape[3]
    draws_, errors_ = z_.reshape(-1), labels_.reshape(-1)
    d_, sum_, seen_ = scratch_[0], scratch_[1], scratch_[2]
"""

SAMPLED_LOOP = """\
            for step_ in range(steps_):
                whole_ = (2 * job_ + step_ % 2) * dimension_ * LANES_
                other_ = (2 * job_ + 1 - step_ % 2) * dimension_ * LANES_
                at_step_ = (problem_ - drawn_) * total_ + t_ + step_
                twice_ = sample_(
                    outers_.size, outers_, places_, roots_at_, hessian_, problem_ * per_problem_, error_, whole_, batch_, draws_,
                    at_step_ * batch_ * even_, even_, errors_, at_step_ * batch_, dimension_, d_, sum_, seen_,
                )
                store_(sums_, step_ * LANES_, twice_)
                for block_ in range(blocks_):
                    size_ = sizes_[block_]
                    begins_ = coordinates_[block_]
                    seen_at_ = begins_
                    hessian_at_ = 0
                    extremes_at_ = 2 * (problem_ * blocks_ + block_)
                    minimizer_at_ = problem_ * dimension_ + begins_
                    table_at_ = (tile_ * total_ + t_ + step_) * STEP_VALUES_ * LANES_
                    now_ = whole_ + begins_ * LANES_
                    next_ = other_ + begins_ * LANES_
                    states_at_ = (STATES_ * job_ * dimension_ + begins_) * LANES_
                    block_states_at_ = (BLOCK_STATES_ * job_ * blocks_ + block_) * LANES_
                    <blocks>"""
"""Takes the place of `<loop>` in `run_`."""
