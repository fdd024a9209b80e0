"""Audit: what is told of which requests, and the file it goes to."""
