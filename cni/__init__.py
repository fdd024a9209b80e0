"""The CNI plugin and the node agent behind it."""
