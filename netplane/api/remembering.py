"""Answers that are remembered for short texts only (pure but for what it remembers).

Clients choose the texts: so many of them, each as large as a request may be, would be more than memory holds.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Sized(Protocol):
    """A text, or bytes."""

    def __len__(self) -> int: ...

    def __hash__(self) -> int: ...


S = TypeVar("S", bound=Sized)
Answering = Callable[Concatenate[S, P], R]


def short(most: int, longest: int) -> Callable[[Answering[S, P, R]], Answering[S, P, R]]:
    """Remember the last `most` answers of a function to a first argument of no more than `longest`."""

    def wrap(function: Answering[S, P, R]) -> Answering[S, P, R]:
        remembered: Callable[..., R] = lru_cache(maxsize=most)(function)

        @wraps(function)
        def answer(text: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return remembered(text, *args, **kwargs) if len(text) <= longest else function(text, *args, **kwargs)

        return answer

    return wrap
