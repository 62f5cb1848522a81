"""Measurements against peers, and the trees that they (and the tests) run on."""
