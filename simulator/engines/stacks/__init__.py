"""The fused engine for stacks of toy models on a GPU: one program per copy of an instance takes many steps in one launch."""
