"""Who owns which field: managedFields, and server-side apply (pure). Source: KEP-555 and structured-merge-diff v4+."""
