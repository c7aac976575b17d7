"""Jobs over an output that is there: by which options it is repaired and retried."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lake.core import sealed_json
from lake.core.errors import OutputError, UsageError, VerifyError
from lake.images.types import Color, DecodeMode, Orientation, Resize
from lake.storage import StoreOptions, configure, configured
from pipeline.config import Gate
from pipeline.job.repair import repair_options, retry_options
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions, Scope
from pipeline.output.verify import VerifyReport
from pipeline.output.verify.report import Problem
from tests.pipeline.job.conftest import Place


@pytest.fixture(autouse=True)
def _stores() -> Any:
    before = configured()
    yield
    configure(before)


@pytest.fixture
def made(place: Place) -> JobOptions:
    """The options that an output was made by, as it gives them back."""
    options = place.options(
        resize=Resize.CROP, gate=Gate(max_reject_fraction=0.5, max_failed_units=7), threads=3, on_damage="reject"
    )
    job = begin(options, ends_with_process=True)
    model = f"{place.output}/_model/{job.bundle.digest}"
    return replace(options, model=model, threads=None, on_damage="fail", input=[*options.input])


def test_a_name_that_ends_like_any_other(place: Place) -> None:
    place.output = place.output.parent / "X"
    begin(place.options(), ends_with_process=True)
    assert retry_options(str(place.output), {}).output == str(place.output)
    assert repair_options(report(place)).output == str(place.output)


def report(place: Place, *damaged: str, lost: tuple[str, ...] = ()) -> VerifyReport:
    return VerifyReport(
        output=f"{place.output}/",
        deep=False,
        units=2,
        files=2,
        read=6,
        results=6,
        rejects=0,
        damaged=tuple(Problem(name=f"latents/{unit}.parquet", unit=unit, problem="missing") for unit in damaged),
        extra=(),
        lost=tuple(Problem(name=name, unit=None, problem="missing") for name in lost),
        notes=(),
    )


def test_a_retry_is_by_the_options_of_the_output(place: Place, made: JobOptions) -> None:
    configure(StoreOptions(anonymous=True))
    wanted = replace(made, scope=Scope(retry_rejects=True), retry_policies={}, stores=StoreOptions(anonymous=True))
    assert retry_options(str(place.output), {}) == wanted
    assert retry_options(f"{place.output}//", {}) == wanted


def test_a_retry_has_policies_of_its_own(place: Place, made: JobOptions) -> None:
    given = {
        "resize": "fit",
        "decode": "fast",
        "color": "convert",
        "orientation": "ignore",
        "max_pixels": 5,
        "max_record_bytes": 6,
    }
    options = retry_options(str(place.output), given)
    assert options.retry_policies == {
        "resize": Resize.FIT,
        "decode": DecodeMode.FAST,
        "color": Color.CONVERT,
        "orientation": Orientation.IGNORE,
        "max_pixels": 5,
        "max_record_bytes": 6,
    }
    assert all(type(value) is not str for value in options.retry_policies.values())
    rest = replace(made, scope=Scope(retry_rejects=True), retry_policies=options.retry_policies)
    assert options == rest, "the rest is as it was"
    assert retry_options(str(place.output), {"resize": None, "max_pixels": 5}).retry_policies == {"max_pixels": 5}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("quality", "a retry does not change quality; leave it out"),
        ("carry", "a retry does not change carry"),
        ("resise", "resise.*resize"),
    ],
)
def test_what_a_retry_does_not_change_is_named(place: Place, made: JobOptions, name: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        retry_options(str(place.output), {"max_pixels": 5, name: 7})


def test_what_is_of_the_run_may_be_another(place: Place, made: JobOptions) -> None:
    given = {
        "input": ("/moved",),
        "on_damage": "reject",
        "threads": 5,
        "max_reject_fraction": 0.25,
        "max_failed_units": 2,
    }
    options = retry_options(str(place.output), given)
    assert (options.input, options.on_damage, options.threads) == (("/moved",), "reject", 5)
    assert options.gate == Gate(max_reject_fraction=0.25, max_failed_units=2)
    assert options.retry_policies == {}


def test_a_retry_keeps_the_limits_that_it_is_not_given(place: Place, made: JobOptions) -> None:
    """Another share than the job's would refuse the output for rejects that the job allowed."""
    assert retry_options(str(place.output), {}).gate == Gate(max_reject_fraction=0.5, max_failed_units=7)
    mended = retry_options(str(place.output), {"max_failed_units": 2}).gate
    assert mended == Gate(max_reject_fraction=0.5, max_failed_units=2)


def test_what_is_damaged_is_done_again(place: Place, made: JobOptions) -> None:
    options = repair_options(report(place, "b", "a"))
    assert options == replace(made, scope=Scope(redo=frozenset({"a", "b"}), tidy=True))
    assert options.scope.tidy
    assert repair_options(report(place, lost=("_SUCCESS", "_models"))) == replace(made, scope=Scope(tidy=True))


def test_a_model_whose_copy_is_damaged_is_copied_again(place: Place, made: JobOptions) -> None:
    digest = made.model.rpartition("/")[2]
    options = repair_options(report(place, lost=("_SUCCESS", f"_model/{digest}")))
    assert options == replace(made, model=place.bundle(), scope=Scope(tidy=True))


@pytest.mark.parametrize("act", [lambda p: retry_options(str(p.output), {}), lambda p: repair_options(report(p))])
def test_what_is_no_output_is_refused(place: Place, act: Any) -> None:
    with pytest.raises(
        OutputError, match=f"{place.output}: not an output of latentlake; name a directory that a job wrote"
    ):
        act(place)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda job: job["options"].update(model_digest="../../../victim"), "'../../../victim' is no digest"),
        (lambda job: job["options"].update(model_digest=None), "None is no digest"),
        (lambda job: job["settings"].update(input=7), "7 is no list"),
        (lambda job: job["settings"].update(model=["x"]), r"\['x'\] is no text"),
        (lambda job: job["settings"].update(verb="x"), "'x' is none of the names that are known"),
        (lambda job: job["settings"].update(format=[]), r"\[\] is none of the names that are known"),
        (lambda job: job["settings"].update(max_pixels={}), r"\{\} is no count"),
        (lambda job: job["settings"].update(carry=5), "5 is no list"),
        (lambda job: job["settings"].update(reference="x"), "'x' is no list"),
        (lambda job: job["settings"].update(resize=[]), r"\[\] is no text"),
        (lambda job: job["settings"]["gate"].update(max_reject_fraction="x"), "'x' is no number"),
        (lambda job: job["settings"].pop("verb"), "it has no verb"),
    ],
)
@pytest.mark.usefixtures("made")
def test_a_forged_job_file_chooses_no_model(
    place: Place, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    path = place.output / "_job.json"
    job_file = sealed_json.loads(path.read_bytes(), "")
    change(job_file)
    path.write_bytes(sealed_json.dumps(job_file))
    with pytest.raises(VerifyError, match=rf"_job\.json: damaged \(.*{says}\); remove it and run the job again"):
        retry_options(str(place.output), {})
