"""Theory: what is claimed."""
