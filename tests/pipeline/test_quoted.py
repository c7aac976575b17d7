"""Errors that come over from another process as the text of a trace."""

import pytest

from pipeline.quoted import quoted

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
    error = quoted(TRACE.format(raised=f"pipeline.errors.{name}: {text}", **ENGINES[engine]))
    assert (str(error), error.exit_status) == (text, status)


@pytest.mark.parametrize("engine", ENGINES)
def test_of_all_others_one_line_is_left(engine: str) -> None:
    text = "OSError: [Errno 28] No space left on device: 'latents/a.parquet'"
    error = quoted(TRACE.format(raised=text, **ENGINES[engine]))
    assert (str(error), error.exit_status) == (f"the pipeline failed: {text} (--verbose shows all)", 1)


def test_a_worker_process_that_ended() -> None:
    error = quoted(ENGINES["prism"]["before"] + "Channel closed prematurely.")
    assert str(error).startswith("a worker process ended: it was probably killed, or out of memory")
    assert "the same command goes on from there" in str(error)
    assert (error.exit_status, "\n" in str(error)) == (1, False)


@pytest.mark.parametrize("text", ["the job server is gone", "\n", "division by zero [while running 'Job/Commit']"])
def test_text_without_a_trace(text: str) -> None:
    line = text.partition(" [")[0].strip() or "it does not say why"
    assert str(quoted(text)) == f"the pipeline failed: {line} (--verbose shows all)"
