"""Letters that make a name one of its kind."""

import secrets

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def five_letters() -> str:
    """Five random letters, as Kubernetes makes them: no vowels, so no words."""
    return "".join(secrets.choice(_LETTERS) for _ in range(5))
