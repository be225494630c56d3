"""Kernels for gradients of samples from a stream."""
