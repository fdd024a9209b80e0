"""How much is taken on at once, from whom, and in which order."""
