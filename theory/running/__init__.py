"""What the bounds for rules as they are run need: constants of blocks, the preconditioner of a run, energies, certificates."""
