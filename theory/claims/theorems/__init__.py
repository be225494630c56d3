"""Claims that are theorems, proved or refuted by a counter-example."""
