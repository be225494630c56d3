"""Work: chunks of a sweep, each a pure function of the configuration and its numbers."""
