"""PURE: from objects to the desired state of the kernel."""
