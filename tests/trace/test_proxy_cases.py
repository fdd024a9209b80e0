"""Where features meet: `tests/data/proxy_cases.yaml` through the tracer."""

from pathlib import Path

import pytest
import yaml

from proxy.plan import fixtures
from proxy.plan.fixtures import World
from proxy.plan.verdicts import verify

CASES = Path(__file__).parents[1] / "data" / "proxy_cases.yaml"
WORLDS = fixtures.read(yaml.safe_load(CASES.read_text()))


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.case.id)
def test_case(world: World) -> None:
    judged = verify(world)
    wrong = [f"{result.flow}: {'; '.join(result.problems)}\n{result.trace}" for result in judged.results]
    assert judged.ok, "\n".join(text for text, result in zip(wrong, judged.results, strict=True) if not result.ok)
    assert judged.notes == ()
