"""Logs, metrics, health endpoints and the coalescing runner."""
