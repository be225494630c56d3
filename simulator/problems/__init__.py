"""Problems: batches of block-diagonal quadratics, from dials or from a user's matrices."""
