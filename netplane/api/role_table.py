"""Tables of roles as text, and the rules they mean (pure).

NAME                                           at the beginning of a line: a role
  VERBS | GROUPS | RESOURCES [| NAMES]         its rules, in their order; `core` is the group without a name
  VERBS | PATHS
  EVENTS                                       the rule that lets a program report events
      more of the line before                  indented deeper
"""

from typing import Any

Json = dict[str, Any]

_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_WORDS = {"READ": _READ, "WRITE": _WRITE}
_EVENTS = "create patch update | core events.k8s.io | events"


def read(table: str) -> dict[str, list[Json]]:
    """The rules of each role, by its name."""
    roles: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in table.strip().splitlines():
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            lines = roles[text] = []
        elif depth == 2:
            lines.append(text)
        else:
            lines[-1] += f" {text}"
    return {name: [rule(one) for one in given] for name, given in roles.items()}


def rule(line: str) -> Json:
    """One rule; its verbs in alphabetical order, as Kubernetes has them."""
    given, *rest = [part.split() for part in (_EVENTS if line == "EVENTS" else line).split("|")]
    verbs = sorted(verb for word in given for verb in _WORDS.get(word, (word,)))
    if len(rest) == 1:
        return {"verbs": verbs, "nonResourceURLs": rest[0]}
    groups, resources, *names = rest
    named = {"apiGroups": ["" if one == "core" else one for one in groups], "resources": resources}
    return {"verbs": verbs, **named, **({"resourceNames": names[0]} if names else {})}
