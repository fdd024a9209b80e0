"""Lines are lines however they are cut; the reflector never waits too little, whatever happens to it."""

from hypothesis import given
from hypothesis import strategies as st

from netplane.client.reflector import Ended, Event, Failed, List, Listed, Reflector, Watch
from netplane.client.wire import Lines

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Listed, st.just("5"), st.sampled_from(["", "token"])),
    st.builds(Ended, st.floats(0, 100)),
    st.builds(Failed, st.sampled_from([0, 401, 410, 429, 500, 504]), st.floats(0, 100)),
)


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.data())
def test_lines_do_not_depend_on_where_the_transport_cuts(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter, got = Lines(), []
    position = 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream) - position))
        got += splitter.feed(stream[position : position + size])
        position += size
    assert got == [line for line in lines if line]


@given(st.lists(EVENTS, max_size=50), st.floats(0, 1, exclude_max=True))
def test_every_answer_is_a_request_and_at_most_one_of_two_short_failures_is_repeated_at_once(
    events: list[Event], dice: float
) -> None:
    reflector = Reflector()
    reflector.start()
    immediate = 0
    for event in events:
        request = reflector.receive(event, dice)
        assert isinstance(request, List | Watch)
        assert 0 <= request.delay_s <= reflector.backoff.longest_s
        if isinstance(event, Listed):
            continue
        immediate = immediate + 1 if request.delay_s == 0 else 0
        assert immediate <= 1 or event.lived_s >= reflector.backoff.settled_s


@given(st.lists(EVENTS, max_size=30))
def test_a_watch_always_starts_at_a_version_that_was_listed_or_seen(events: list[Event]) -> None:
    reflector = Reflector()
    reflector.start()
    known = {""}
    for number, event in enumerate(events):
        if isinstance(event, Listed):
            known.add(event.resource_version)
        request = reflector.receive(event, 0.0)
        if isinstance(request, Watch):
            assert request.resource_version in known
            reflector.saw(str(number))
            known.add(str(number))
