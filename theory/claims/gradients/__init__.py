"""Claims about the gradients and the steps of networks."""
