"""The flags of the commands that go on with an output: ``retry``, ``verify`` and ``status``."""

from dataclasses import replace

from lake.cli.option import Option
from lake.cli.options import INPUT, STORES
from model.cli.export_options import ALLOW_CODE
from pipeline.options.flags import RUN

# What a retry may change: how records are decoded, and how the run goes. Everything else stays as it was, so that the
# results of the retry fit those of the first run.
_RETRY_POLICIES = (
    *("--resize", "--decode", "--color", "--exif-orientation", "--max-pixels", "--pages", "--max-record-bytes"),
)
_RETRY_RUN = ("--follow-links", "--on-damage", "--threads", "--allow-code")
_RETRY_GATE = ("--max-reject-fraction", "--max-failed-units")  # which the output keeps
RETRY = (
    *(option for option in INPUT if option.flag in _RETRY_POLICIES),
    *(option for option in RUN if option.flag in _RETRY_RUN),
    *(
        replace(option, help=option.help.replace("default {default}", "default: that of the job"))
        for option in RUN
        if option.flag in _RETRY_GATE
    ),
    Option(
        flag="--input",
        group="input",
        field="input",
        many=True,
        metavar="URI",
        help="new location of the shards (default: where the first run read them)",
    ),
    *STORES,
)
VERIFY = (
    Option(
        flag="--deep",
        group="run",
        field="deep",
        switch=True,
        help="read every byte and every row (default: names, sizes, footers and counts)",
    ),
    Option(
        flag="--repair",
        group="run",
        field="repair",
        switch=True,
        help="rerun the units whose files are wrong, and remove files that belong to no unit",
    ),
    ALLOW_CODE,
    *STORES,
)
STATUS = STORES
