"""The page of `quadsim explore`: optimizers on quadratics, run in the browser."""
