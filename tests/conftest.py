"""Rules for every test: privileged ones fail where they cannot run, and none leaves a namespace behind."""

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from netplane.kernel import netns
from netplane.obs import logs

# No test modules by name, but they assert as such.
pytest.register_assert_rewrite("tests.store_promises", "tests.store_machine")

# No test asserts wall-clock times, nor does hypothesis: the first example in a new clone builds tables of Unicode.
settings.register_profile("netplane", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netplane")

# What tests' namespaces begin with: `npt-` those of kernel tests, `np-t` and `np-b` of labs, `npv-` of `verify`.
OURS = ("npt-", "np-t", "np-b", "npv-")


@pytest.fixture(autouse=True)
def _privileged(request: pytest.FixtureRequest) -> None:
    """A privileged test that cannot run is a failure: a skipped kernel test proves nothing."""
    if request.node.get_closest_marker("privileged") and os.geteuid() != 0:
        pytest.fail("this test needs root and network namespaces; run ./run test as root", pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Namespaces that a module made and did not remove fail its last test."""
    before = set(_ours())
    yield
    # Only this process's tests are judged: names carry no owner, so tests that run side by side opt out.
    if "NETPLANE_TESTS_SHARE_MACHINE" in os.environ:
        return
    left = set(_ours()) - before
    assert not left, f"namespaces left behind: {', '.join(sorted(left))}"


def _ours() -> list[str]:
    return [name for name in netns.names() if name.startswith(OURS)]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is collected stays: the garbage collector need not walk it (0.2 s) whenever tests have made some objects."""
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Rows of the shared facts are not there in a plain clone: tests over no rows are not collected, not skipped."""
    empty = [item for item in items if any(_is_empty(mark) for mark in item.iter_markers("skip"))]
    if empty:
        items[:] = [item for item in items if item not in empty]
        config.hook.pytest_deselected(items=empty)


def _is_empty(mark: pytest.Mark) -> bool:
    return str(mark.kwargs.get("reason", "")).startswith("got empty parameter set")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A test that runs a whole command sets up logging; the next one must not inherit its level and its stream."""
    yield
    logs.reset()
