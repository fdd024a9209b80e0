"""The queue of keys: one worker per key at a time, pauses after failures."""

from netplane.controllers.queue import KeyQueue


def test_a_key_is_worked_on_once_at_a_time_and_again_when_poked_meanwhile() -> None:
    queue = KeyQueue()
    queue.poke("a")
    queue.poke("a")
    queue.poke("b")
    assert [queue.take(0.0), queue.take(0.0), queue.take(0.0)] == ["a", "b", None]
    queue.poke("a")
    assert queue.take(0.0) is None
    queue.finished("a", 0.0, ok=True, dice=0.0)
    assert queue.take(0.0) == "a"


def test_failures_wait_longer_and_longer_and_a_poke_ends_the_wait() -> None:
    queue = KeyQueue(first_s=0.1, longest_s=0.3)
    waits, now = [], 0.0
    queue.poke("a")
    for _ in range(4):
        assert queue.take(now) == "a"
        queue.finished("a", now, ok=False, dice=0.0)
        assert queue.take(now) is None
        wait = queue.wait_s(now)
        assert wait is not None
        waits.append(round(wait, 3))
        now += wait + 0.001
    assert waits == [0.05, 0.1, 0.15, 0.15]
    assert queue.take(now) == "a"
    queue.finished("a", now, ok=False, dice=0.0)
    queue.poke("a")
    assert queue.take(now) == "a"
    queue.finished("a", now, ok=True, dice=0.0)
    assert queue.wait_s(now) is None


def test_again_is_a_date_that_a_poke_replaces() -> None:
    queue = KeyQueue()
    queue.poke("a")
    queue.take(0.0)
    queue.finished("a", 0.0, ok=True, dice=0.0, again_s=10.0)
    assert queue.wait_s(4.0) == 6.0
    queue.poke("a")
    assert queue.wait_s(4.0) is None
    assert queue.take(4.0) == "a"
    queue.finished("a", 4.0, ok=True, dice=0.0, again_s=10.0)
    assert queue.take(13.9) is None
    assert queue.take(14.0) == "a"
