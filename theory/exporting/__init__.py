"""Theorems and proofs as documents: for a checker that knows nothing of this package, for papers and for other provers."""
