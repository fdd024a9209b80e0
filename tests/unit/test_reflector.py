"""The list-watch state machine: what follows what, and that nothing can make it spin."""

from netplane.client.reflector import Backoff, Ended, Failed, List, Listed, Reflector, Request, Watch

LONG_S = 60.0


def watching(version: str = "10") -> Reflector:
    reflector = Reflector()
    reflector.start()
    reflector.receive(Listed(version), 0.0)
    return reflector


def test_starts_with_a_list_of_any_state_and_watches_from_its_version() -> None:
    reflector = Reflector()
    assert reflector.start() == List("0")
    assert reflector.receive(Listed("10"), 0.0) == Watch("10", 300)


def test_pages_are_followed_by_their_token() -> None:
    reflector = Reflector()
    reflector.start()
    assert reflector.receive(Listed("10", "abc"), 0.0) == List("", "abc")
    assert reflector.receive(Listed("10", ""), 0.0) == Watch("10", 300)


def test_a_watch_resumes_at_the_last_version_seen() -> None:
    reflector = watching()
    reflector.saw("17")
    assert reflector.receive(Ended(LONG_S), 0.0) == Watch("17", 300, 0.05)


def test_the_first_retry_after_a_lost_connection_comes_within_100_ms() -> None:
    for dice in (0.0, 0.5, 0.999):
        request = watching().receive(Failed(0, LONG_S), dice)
        assert isinstance(request, Watch)
        assert 0.05 <= request.delay_s <= 0.1


def test_retries_grow_to_the_longest_and_start_anew_after_a_settled_watch() -> None:
    reflector = watching()
    delays = [round(reflector.receive(Failed(0), 0.0).delay_s, 3) for _ in range(12)]
    assert delays == [0.05, 0.075, 0.113, 0.169, 0.253, 0.38, 0.57, 0.854, 1.281, 1.922, 2.5, 2.5]
    assert reflector.receive(Ended(LONG_S), 0.0).delay_s == 0.05


def test_expired_lists_the_newest_state_at_once_but_not_again_and_again() -> None:
    reflector = watching()
    assert reflector.receive(Failed(410, LONG_S), 0.0) == List("")
    reflector.receive(Listed("20"), 0.0)
    again = reflector.receive(Failed(410), 0.0)
    assert isinstance(again, List)
    assert again.delay_s > 0


def test_a_failed_list_is_a_list_again_never_older_than_what_was_seen() -> None:
    reflector = Reflector()
    reflector.start()
    assert reflector.receive(Failed(0), 0.0) == List("0", delay_s=0.05)
    reflector = watching()
    reflector.receive(Failed(410, LONG_S), 0.0)
    again = reflector.receive(Failed(503), 0.0)
    assert isinstance(again, List)
    assert (again.resource_version, round(again.delay_s, 3)) == ("", 0.075)


def test_a_server_that_is_behind_is_listed_anew() -> None:
    assert watching("900").receive(Failed(504, LONG_S), 0.0) == List("", delay_s=0.05)


def test_an_expired_continue_token_starts_the_list_over() -> None:
    reflector = Reflector()
    reflector.start()
    reflector.receive(Listed("10", "abc"), 0.0)
    assert reflector.receive(Failed(410), 0.0) == List("")


def test_retry_after_is_the_least_wait() -> None:
    assert watching().receive(Failed(429, LONG_S, retry_after_s=7.0), 0.0).delay_s == 7.0


def test_whatever_short_lived_thing_happens_the_requests_per_second_are_bounded() -> None:
    """A server that accepts everything and ends everything at once gets a handful of requests in ten seconds."""
    for event in (Ended(0.0), Failed(410), Failed(500), Failed(0)):
        reflector = Reflector(Backoff())
        request: Request = reflector.start()
        requests, waited_s = 0, 0.0
        while waited_s < 10.0:
            request = reflector.receive(Listed("1") if isinstance(request, List) else event, 0.0)
            requests += 1
            waited_s += request.delay_s
        assert requests < 40, event
