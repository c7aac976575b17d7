"""Errors that come over from another process as the text of a trace."""

import pytest

from pipeline.beam.worker_errors import parse_worker_error

TRACE = """{before}Traceback (most recent call last):
  File "pipeline/unit.py", line 81, in _run
    PULSE.beat(config.output, config.run)
{raised}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1623, in apache_beam.runners.common.DoFnRunner._reraise_augmented
{raised} [while running 'Job/Run units']
{after}"""
ENGINES = {
    "processes": {"before": "", "after": ""},
    "prism": {"before": "Pipeline job-001 failed in state FAILED: bundle inst012 stage-004 failed:", "after": "\n"},
    "flink": {
        "before": "Pipeline BeamApp failed in state FAILED: java.lang.RuntimeException: Error received: ",
        "after": "\n\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient(FnApiControlClient.java:184)",
    },
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "status"), [("HeldError", 4), ("BundleError", 2), ("VerifyError", 3), ("LatentlakeError", 1), ("Gone", 1)]
)
def test_errors_of_ours_keep_their_text_and_status(engine: str, name: str, status: int) -> None:
    text = "latents is no longer held by run 7, nobody holds it; run the job again: to go on"
    error = parse_worker_error(TRACE.format(raised=f"lake.core.errors.{name}: {text}", **ENGINES[engine]))
    assert (str(error), error.exit_status) == (text, status)


@pytest.mark.parametrize("engine", ENGINES)
def test_of_all_others_one_line_is_left(engine: str) -> None:
    text = "OSError: [Errno 28] No space left on device: 'latents/a.parquet'"
    error = parse_worker_error(TRACE.format(raised=text, **ENGINES[engine]))
    assert (str(error), error.exit_status) == (f"the pipeline failed: {text} (--verbose shows all)", 1)


def test_an_error_of_the_engine_alone_is_its_innermost() -> None:
    text = "TaskManager with id localhost:1 is no longer reachable."
    trace = (
        "org.apache.flink.runtime.JobException: Recovery is suppressed\n\tat org.apache.flink.A(A.java:1)\n"
        f"Caused by: org.apache.flink.util.FlinkException: {text}\n\tat org.apache.flink.B(B.java:2)\n\t... 5 more\n"
    )
    assert str(parse_worker_error(trace)) == f"the pipeline failed: {text} (--verbose shows all)"


def test_a_worker_process_that_ended() -> None:
    error = parse_worker_error(ENGINES["prism"]["before"] + "Channel closed prematurely.")
    assert str(error).startswith("a worker process ended: it was probably killed, or out of memory")
    assert "the same command goes on from there" in str(error)
    assert (error.exit_status, "\n" in str(error)) == (1, False)


@pytest.mark.parametrize("text", ["the job server is gone", "\n", "division by zero [while running 'Job/Commit']"])
def test_text_without_a_trace(text: str) -> None:
    line = text.partition(" [")[0].strip() or "it does not say why"
    assert str(parse_worker_error(text)) == f"the pipeline failed: {line} (--verbose shows all)"
