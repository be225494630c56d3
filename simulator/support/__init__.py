"""Support: what every room uses and nothing of ours is used by: checks, draws, files, statistics."""
