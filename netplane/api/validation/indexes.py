"""Lists of a job's indexes: 0,2-5,7. Source: batch/v1 validation of Kubernetes 1.36."""

import re

_NUMBER = re.compile(r"[+-]?[0-9]+")


def count(text: str, below: int) -> int:
    """How many indexes a list holds, all smaller than `below`. Raises ValueError, in Kubernetes' words."""
    last, total = None, 0
    for part in text.split(",") if text else ():
        first, end = _interval(part, below)
        if last is not None and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        last, total = end, total + end - first + 1
    return total


def _interval(part: str, below: int) -> tuple[int, int]:
    ends = part.split("-")
    if len(ends) > 2:
        why = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f'the fragment "{part}" {why}')
    numbers = [_index(one, below) for one in ends]
    if len(numbers) > 1 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def _index(text: str, below: int) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= below:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


def first_in_both(one: str, other: str, below: int) -> int | None:
    """The first index that two lists share, intervals that cannot be read apart; None when there is none."""
    ones, others = ([i for part in text.split(",") for i in _readable(part, below)] for text in (one, other))
    return next((max(a, c) for a, b in ones for c, d in others if a <= d and c <= b), None)


def _readable(part: str, below: int) -> list[tuple[int, int]]:
    try:
        return [_interval(part, below)]
    except ValueError:
        return []
