"""The bench: how many runs a claim needs, many runs from one file, and what may be said of them."""
