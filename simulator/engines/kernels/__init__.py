"""Kernels: source generated from a rule for CPU and GPU, compiled, kept and launched."""
