"""PURE: the nouns of Kubernetes that Netplane reads and serves."""
