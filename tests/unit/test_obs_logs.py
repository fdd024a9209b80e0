"""What is said is written, in order; what the level stops costs nothing."""

import json
import subprocess
import sys
import threading

import pytest

from netplane.obs import logs


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]


def test_the_level_stops_what_is_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = logs.get("test")
    logs.setup("warning", "json")
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(level)
    assert said(capsys) == ["warning", "error"]


def test_a_logger_follows_a_later_setup(capsys: pytest.CaptureFixture[str]) -> None:
    log = logs.get("test")
    logs.setup("error", "json")
    log.info("one")
    logs.setup("info", "json")
    log.info("two")
    assert said(capsys) == ["two"]


def test_values_component_and_traceback_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("info", "json")
    try:
        raise ValueError("odd")
    except ValueError:
        logs.get("a.b").exception("failed", pod="p1")
    line = json.loads(capsys.readouterr().err)
    assert (line["component"], line["level"], line["pod"]) == ("a.b", "error", "p1")
    assert "ValueError: odd" in line["exception"]


def test_what_is_put_off_comes_at_the_end_and_other_threads_are_not_held(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("info", "json")
    log = logs.get("test")
    with logs.put_off():
        log.info("mine")
        other = threading.Thread(target=lambda: log.info("another's"))
        other.start()
        other.join()
        assert said(capsys) == ["another's"]
    log.info("after")
    assert said(capsys) == ["mine", "after"]


def test_what_was_put_off_is_written_though_the_body_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        logs.get("test").info("before it failed")
        raise RuntimeError

    logs.setup("info", "json")
    with pytest.raises(RuntimeError), logs.put_off():
        fail()
    assert said(capsys) == ["before it failed"]


def test_nothing_is_loaded_for_a_logger_that_says_nothing() -> None:
    program = (
        "import sys; from netplane.obs import logs; logs.setup('error'); logs.get('x').info('no');"
        " sys.exit('structlog' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_draws_in_colours_is_not_loaded_to_write_a_line_and_can_be_loaded_after() -> None:
    program = (
        "import sys; from netplane.obs import logs; logs.setup(); logs.get('x').info('yes');"
        " assert 'rich' not in sys.modules; import rich.table"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, "yes" in done.stderr) == (0, True)


def test_the_plugin_without_an_agent_loads_no_logging_and_no_event_loop() -> None:
    program = (
        "import sys, cni.standalone, cni.engine, cni.leases;"
        " sys.exit(str([m for m in ('structlog', 'rich', 'asyncio', 'pyroute2') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_before_any_setup_stdout_is_left_to_the_program_and_tracebacks_are_plain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        logs.get("a.b").exception("failed")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback (most recent call last):\n" in err
