"""The fused engines for stacks of toy models: many steps of a copy in one launch on a GPU, and gradients on a CPU (`cpu_*`)."""
