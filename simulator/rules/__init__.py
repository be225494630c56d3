"""Rules: optimizers as symbolic objects, and their schedules."""
