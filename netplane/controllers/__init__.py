"""Controllers: each a pure plan plus one reconcile runtime."""
