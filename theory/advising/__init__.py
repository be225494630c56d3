"""Which optimizer, at which rate, with which guarantee, and how sure: from results and from theorems, never beyond them."""
