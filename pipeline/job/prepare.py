"""Check and plan a job at launch. Nothing is written until every check has passed."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lake.core.errors import HeldError, OutputError
from lake.formats.common.cuts import Cuts, Giant
from lake.formats.reader import ColumnSelection
from lake.inputs.apart import check_apart
from lake.inputs.discover import Found
from lake.inputs.expected import Expected, find_expected
from lake.inputs.passed_over import values
from lake.storage import Stat, configure, join, store_for
from lake.storage.buckets import check_bucket
from lake.storage.redact import check_no_user
from pipeline.config import JobConfig
from pipeline.job.checks import check_variance
from pipeline.job.earlier_retries import earlier_retries
from pipeline.job.kept_rules import with_kept_alpha
from pipeline.job.lake_table import table_due, with_kept_table
from pipeline.job.make_config import checked_config
from pipeline.job.plan import Plan, make_plan, plan_cuts, reject_limit
from pipeline.job.reuse import find_reusable
from pipeline.job.source import JobSource, find_source
from pipeline.job.table_names import check_directories
from pipeline.job.trial import check_sample
from pipeline.options.job_options import JobOptions
from pipeline.output.commit.companions import lists_any
from pipeline.output.commit.ranges import Ranges
from pipeline.output.commit.recovery import Leavings, Recovered, find_leavings, known_state, run_after
from pipeline.output.commit.run import Run
from pipeline.output.describe.description import PAGES, Description, plan_description
from pipeline.output.layout import Layout
from pipeline.output.reuse.reusable import ReusableTable
from pipeline.output.state.job_file import (
    JobFile,
    check_receipts,
    read_job_file,
)
from pipeline.output.units.receipts import Receipt
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from model.bundle import Bundle

UNITS_PER_PART = 1000  # units in one file of the plan
_SUCCESS = 2  # position of _SUCCESS in ``Job.state``


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A checked and planned job.

    Attributes:
      options: the options that the user gave.
      config: the part that travels to every worker.
      run: the part that travels to the commit.
      plan: the units of the output, and which of them are to be run.
      found: the input's shards.
      cuts: where giants among them are cut.
      bundle: the model.
      selection: what the user and the model ask of each record.
      state: versions of the output's state when the job was planned. If they change, the plan is out of date.
      recovered: what the plan counts on of runs that did not come to their end.
      table_due: whether the table of a lake's catalog has other files than the output.
      reusable: tables whose latents are kept for records of the same bytes.
      ranges: of its units, if there are so many that workers commit them.
    """

    options: JobOptions
    config: JobConfig
    run: Run
    plan: Plan
    found: Found
    bundle: "Bundle"
    selection: ColumnSelection
    state: "OutputState"
    recovered: Recovered
    cuts: Mapping[Giant, Cuts] = field(default_factory=dict)
    table_due: bool = False
    reusable: tuple[ReusableTable, ...] = ()
    ranges: Ranges | None = None

    @property
    def success(self) -> Stat | None:
        """``_SUCCESS`` as it was when the job was planned."""
        return self.state.files[_SUCCESS]

    @property
    def nothing_to_do(self) -> bool:
        """Whether the output is complete as it stands."""
        # Even without a unit to run, a commit may be due: to drop units, to clean up, or to compare the record count.
        complete = self.success is not None and not self.run.tidy
        due = self.run.expected is not None or (self.run.description is not None and self.run.description.due)
        return complete and not self.plan.todo and not self.plan.obsolete and not due and not self.table_due

    @property
    def parts(self) -> list[str]:
        """URIs of the plan's files."""
        # The pipeline's graph holds these URIs only. Engines limit the size of a graph, and units number in millions.
        count = -(-len(self.plan.todo) // UNITS_PER_PART)
        return [join(Layout(self.config.output).plan(self.config.run), f"part-{i:05d}.jsonl") for i in range(count)]


def prepare(options: JobOptions, run: str | None = None) -> Job:
    """Check everything that a job depends on and make its plan. Writes nothing.

    Args:
      options: the options of the job.
      run: id of the run; None for a new one.

    Raises:
      UsageError: an option, the input, the bundle or the output does not fit; the text names the value and the remedy.
      VerifyError: the output's own state is damaged.
      HeldError: ``run`` is given, and a later run has been there meanwhile.
    """
    return prepare_with_receipts(options, run)[0]


def prepare_with_receipts(options: JobOptions, run: str | None = None) -> tuple[Job, Mapping[str, Receipt]]:
    """Prepare a job as ``prepare``, and also return the receipts of the units that are done, by unit."""
    started = time.time()
    configure(options.stores)
    _check_places(options)
    bundle = _open_bundle(options)
    layout = Layout(options.output.rstrip("/"))
    # Taken before anything of the output is read: what changes from here on shows as a difference.
    state = output_state(layout)
    if (job_file := read_job_file(layout.output)) is None:
        check_bucket(layout.output, OutputError)
    kept = _kept_pages(job_file)
    options = with_kept_table(replace(options, **kept) if kept else options, job_file)
    options = with_kept_alpha(options, job_file)
    source = find_source(options, bundle, job_file)
    config = checked_config(options, bundle, source, job_file, _run_id(layout, state.left, run))
    expected = find_expected(options.expect_records, source.found) if options.expect_records else None
    receipts, recovered = known_state(layout, state.left, options.stores)
    if job_file is None and not options.overwrite:
        check_receipts(receipts, config)
    cuts = plan_cuts(source.found, config, receipts)
    retried = earlier_retries(config, options.scope, receipts, recovered.doubtful)
    plan = make_plan(source.found, config, receipts, options.scope, expected, source.clean, cuts, retried)
    config = _checked_plan(plan, options, config, receipts, expected)
    job = Job(
        options=options,
        config=config,
        run=Run(
            units=len(plan.units),
            todo=len(plan.todo),
            obsolete=layout.obsolete(config.run) if plan.obsolete else "",
            passed_over=_passed_over(source, plan),
            started=started,
            expected=expected.total if expected else None,
            companions=layout.companions(config.run) if source.found.companions and lists_any(plan.units) else "",
            recovered=layout.recovered(config.run) if recovered else "",
            description=_description(options, kept),
            tidy=_needs_cleanup(options, config, job_file, state.left, has_receipts=bool(receipts)),
        ),
        plan=plan,
        found=source.found,
        cuts=cuts,
        bundle=bundle,
        selection=source.selection,
        state=state,
        recovered=recovered,
        table_due=table_due(config, plan.units, receipts),
        reusable=find_reusable(options, config, job_file, receipts, state.left) if plan.todo else (),
    )
    return job, receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputState:
    """The state of an output at some time.

    Attributes:
      files: job file, manifest and ``_SUCCESS``.
      left: plans and receipts of runs that are under way, or did not come to their end.
    """

    files: tuple[Stat | None, ...]
    left: Leavings


def output_state(layout: Layout) -> OutputState:
    """Return the versions of the files that change as a run goes on, and when it ends."""
    store = store_for(layout.output)
    files = tuple(store.stat(uri) for uri in (layout.job, layout.manifest, layout.success))
    return OutputState(files=files, left=find_leavings(layout))


def _check_places(options: JobOptions) -> None:
    """Check the URIs of a job, before any of them is part of an error."""
    for uri in (*options.input, *(options.reference or ()), options.model, options.output):
        check_no_user(uri)
    check_apart(options.input, options.output)
    check_apart(options.reference or (), options.output, "reference")


def _kept_pages(job_file: JobFile | None) -> dict[str, Any]:
    """The options of pages that an output has: they stay, also where a later run does not name them."""
    settings = job_file["settings"] if job_file else {}
    return {name: True for name in PAGES if settings.get(name) is True}


def _open_bundle(options: JobOptions) -> "Bundle":
    from model.bundle import Bundle

    bundle = Bundle.open(options.model, allow_code=options.allow_code)
    bundle.spec.require(VERBS[options.verb].function)
    check_variance(options, bundle.spec)
    return bundle


def _checked_plan(
    plan: Plan,
    options: JobOptions,
    config: JobConfig,
    receipts: Mapping[str, Receipt],
    expected: Expected | None,
) -> JobConfig:
    """The configuration with the limit of rejects, once a sample of the plan has shown that it can be run."""
    check_directories(config, plan.units)
    most = options.gate.max_reject_fraction
    # A retry and a repair are of an output that has shown that its model fits.
    if plan.todo and not (config.sampling or config.retry or options.scope.redo):
        check_sample(plan.units, config, all_may_fail=most >= 1)
    if config.retry:
        return config
    return replace(config, reject_limit=reject_limit(plan, receipts, most, expected.total if expected else None))


def _passed_over(source: JobSource, plan: Plan) -> dict[str, Any]:
    """What the input has and the job does not read, or copy."""
    units = plan.units if source.found.companions else ()
    copied = {companion.path for unit in units for companion in unit.companions}
    return values(source.found.passed_over, (one.path for one in source.found.companions if one.path not in copied))


def _description(options: JobOptions, kept: Collection[str]) -> Description | None:
    pages = {name: name not in kept for name in PAGES if getattr(options, name)}
    return plan_description(options.output.rstrip("/"), options.input, pages) if pages else None


def _needs_cleanup(
    options: JobOptions, config: JobConfig, job_file: JobFile | None, left: Leavings, *, has_receipts: bool
) -> bool:
    """Whether data files may belong to no unit: the last run died, or the output lost some of its state."""
    if options.scope.tidy or left.unfinished:
        return True
    return has_receipts and _lacks_state(job_file, config)


def _lacks_state(job_file: JobFile | None, config: JobConfig) -> bool:
    """Whether the job file or the copy of the model is missing. If they are there but damaged, ``verify`` finds it."""
    from model.bundle import SPEC_FILE

    return job_file is None or store_for(config.model).stat(join(config.model, SPEC_FILE)) is None


def _run_id(layout: Layout, left: Leavings, run: str | None) -> str:
    """Return the id of a run. Ids of runs of one output sort in the order of the runs, whatever their clocks say.

    Raises:
      HeldError: the run has an id already, and another one that came later has been there meanwhile.
    """
    if run is not None and run <= left.last_run:
        raise HeldError(
            f"{layout.output} was written to by run {left.last_run} while this one was planned; run the job again"
        )
    return run or run_after(left.last_run)
