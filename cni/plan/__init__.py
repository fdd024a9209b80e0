"""PURE: what a pod or a node needs, as values."""
