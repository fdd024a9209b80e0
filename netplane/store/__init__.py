"""Revisioned key-value stores behind the apiserver."""
