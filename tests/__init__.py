"""The tests, in the shape of the package; `world` holds the builders, `e2e` drives the real programs."""
