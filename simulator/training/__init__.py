"""Training: rules on stacks of toy models."""
