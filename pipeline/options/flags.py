"""The command-line flags of jobs, as one table.

The parsers, ``--help`` and the metadata of the Dataflow Flex Template are all generated from these tuples. A flag's
default is that of the dataclass field that it sets, so it is stated once.
"""

from dataclasses import replace

from lake.cli.option import Option, count, fraction, number_or_word, positive, size
from lake.cli.options import INPUT
from model.cli.export_options import ALLOW_CODE as ALLOW_CODE
from model.runtime import EXECUTORS

# How often options are used, the first most; the help begins with the first five that a command has.
OFTEN = (
    *("--input", "--count", "--model", "--output", "--noise-level", "--seed", "--image-format", "--resize"),
    *("--carry", "--overwrite"),
)
AUTO = "auto"  # the first executor that runs the bundle

MODEL = (
    Option(
        flag="--model",
        group="input",
        field="model",
        required=True,
        metavar="BUNDLE",
        help="bundle made by 'latentlake train' or 'export', or zoo:NAME for an included one",
    ),
    Option(flag="--output", group="output", field="output", required=True, metavar="URI", help="directory to write to"),
)

FOLLOW_LINKS = Option(
    flag="--follow-links",
    group="input",
    field="follow_links",
    switch=True,
    help="read what symbolic links in the input lead to outside of it (default: such links are passed over)",
)
CARD = Option(
    flag="--card",
    group="output",
    field="card",
    switch=True,
    help="also write a dataset card for the Hugging Face Hub, README.md, by which datasets.load_dataset reads the "
    "output; later runs keep it current",
)
CROISSANT = Option(
    flag="--croissant",
    group="output",
    field="croissant",
    switch=True,
    help="also describe the output in Croissant, croissant.json, the vocabulary of MLCommons for datasets; later runs "
    "keep it current",
)
RUN = (
    FOLLOW_LINKS,
    CARD,
    CROISSANT,
    Option(
        flag="--overwrite",
        group="output",
        field="overwrite",
        switch=True,
        help="replace what an output made with another model or other options holds, unit by unit",
    ),
    Option(
        flag="--on-damage",
        group="gate",
        field="on_damage",
        choices=("fail", "reject"),
        help="what a damaged shard does: fail its unit, or keep its intact records and reject the rest",
    ),
    Option(
        flag="--expect-records",
        group="gate",
        field="expect_records",
        type=number_or_word,
        metavar="N|URI",
        help="records that the input must have in all, or JSON files that count them by shard",
    ),
    Option(
        flag="--prune",
        group="output",
        field="prune",
        switch=True,
        help="drop the results of shards that no longer exist (default: keep them)",
    ),
    Option(
        flag="--reject-bytes",
        group="output",
        field="reject_bytes",
        type=size,
        metavar="N",
        help="original bytes of a rejected record that rejects/ keeps (default {default})",
    ),
    Option(
        flag="--reject-budget",
        group="output",
        field="reject_budget",
        type=size,
        metavar="N",
        help="bytes of all rejected records of a unit that rejects/ keeps; further rows have none (default {default})",
    ),
    Option(
        flag="--max-reject-fraction",
        group="gate",
        field="max_reject_fraction",
        type=fraction,
        metavar="F",
        help="largest share of rejected records for which _SUCCESS is written (default {default})",
    ),
    Option(
        flag="--max-failed-units",
        group="gate",
        field="max_failed_units",
        type=count,
        metavar="N",
        help="largest number of failed units for which _SUCCESS is written (default {default})",
    ),
    Option(
        flag="--threads",
        group="run",
        field="threads",
        type=positive,
        metavar="N",
        help="threads of a worker process (default: its cores); the output does not depend on it",
    ),
    Option(
        flag="--executor",
        group="run",
        field="executor",
        choices=(AUTO, *EXECUTORS),
        help="what computes the model's functions (default {default}: onnx if the bundle has been exported for it, "
        "else tensorflow); they differ in last bits, so an output holds to one",
    ),
    ALLOW_CODE,
    Option(
        flag="--detach",
        group="run",
        field="detach",
        switch=True,
        help="exit once the runner has accepted the job (status 0); the pipeline commits or fails by itself",
    ),
)


VARIANCE = Option(
    flag="--latent-variance",
    group="output",
    field="variance",
    switch=True,
    help="also write each latent's variance, as the column latent_variance (variational autoencoders only)",
)

HASH = Option(
    flag="--hash",
    group="output",
    field="hash",
    switch=True,
    help="also write hashes of each record, by which 'duplicates' finds copies: the SHA-256 of its bytes, as column "
    "sha256, and a perceptual hash of its image, as phash",
)

PARTITION_BY = Option(
    flag="--partition-by",
    group="output",
    field="partition_by",
    metavar="COLUMN",
    help="write a table for each value of a column of the records, into directories COLUMN=value as of Hive (default: "
    "one for each unit)",
)

REUSE = Option(
    flag="--reuse",
    group="run",
    field="reuse",
    metavar="content|OUTPUT",
    help="keep the latent of each record whose bytes the output has had before, with the same model and options, "
    "however shards are called or cut by now; with the URI of another output also what that one has; implies --hash",
)

CONDITION_COLUMN = Option(
    flag="--condition-column",
    group="input",
    field="condition_column",
    metavar="NAME",
    help="column with what a conditional model is told of each record (default: that of the model's export); "
    "json.label is the field label of the JSON in column json",
)

GENERATE = (
    Option(
        flag="--count", group="input", field="count", type=positive, required=True, metavar="N", help="how many images"
    ),
    Option(
        flag="--seed",
        group="input",
        field="seed",
        type=count,
        metavar="S",
        help="seed of the samples; image i of a seed is always the same (default {default})",
    ),
    Option(
        flag="--condition",
        group="input",
        field="condition",
        type=number_or_word,
        many=True,
        metavar="VALUE",
        help="what a conditional model is told of the images: a class, or numbers with colons between; of several, "
        "one for each image, and again from the first one",
    ),
    Option(
        flag="--interpolate",
        group="input",
        field="interpolate",
        arity=2,
        metavar="KEY",
        help="interpolate between the latents of two keys instead of sampling; --input names the latent tables",
    ),
    *(
        replace(option, required=False)
        for option in INPUT
        if option.flag in ("--input", "--format", "--image", "--key")
    ),
)

# Latents are not decoded, so the options of image decoding do not apply to them.
_DECODING = ("--resize", "--decode", "--color", "--exif-orientation", "--max-pixels", "--pages", "--white")
LATENTS = tuple(option for option in INPUT if option.flag not in _DECODING)
