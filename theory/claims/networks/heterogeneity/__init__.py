"""Claims on how unlike the curvature of a network's weight matrices is, in which networks, and what it predicts."""
