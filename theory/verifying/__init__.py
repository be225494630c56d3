"""Verifying: prove every theorem, check it on new random problems, and refute false claims."""
