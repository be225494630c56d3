"""Claims about the Hessians of networks, and about the gap between gradient descent and Adam on them."""
