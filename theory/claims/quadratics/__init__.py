"""Claims about runs on quadratics."""
