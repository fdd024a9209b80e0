"""Questions that people put to the service plan: `netplane verify` and `trace`, `netplane-proxy plan` and `diff`."""
