"""Requests taken apart and answers put together: targets, queries, bodies, formats."""
