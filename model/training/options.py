"""The options of a training, for each kind of training."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lake.cli.check import check_instance
from lake.cli.options import INPUT
from lake.formats.reader import ColumnSelection
from model.input_spec import Shape
from model.training.schedule import STEPS

_SHARED = tuple(
    replace(option, field="inputs") if option.field == "input" else option
    for option in INPUT
    if option.field in ("input", "format")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Everything that the training of an autoencoder depends on.

    Attributes:
      kind: a key of ``model.training.kinds.TRAINED``.
      inputs: URIs of shards: files, globs, directories.
      output: URI of the directory to write the bundle to.
      selection: which columns are read.
      format: format of the shards, or 'auto'.
      policy: fields of ``lake.images.types.Target`` besides the shape.
      input_shape: shape of the network's input; None for that of the first record.
      latent_dim: length D of a latent.
      epochs: largest number of epochs.
      batch_size: samples per step.
      learning_rate: largest learning rate of Adam.
      noise: standard deviation of normal noise on the input, where white is 255; only for kind 'autoencoder'.
      agreement: weight of the disagreement between the latents of an image and a transformed copy; only for kind
        'autoencoder'.
      seed: seed of weights, noise and order.
      validation_fraction: share of the samples that is held out.
      patience: epochs without a better validation loss before the training stops.
      start_from: URI of a bundle, or ``zoo:NAME``, whose weights are those at the start; "" for new ones.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    selection: ColumnSelection
    format: str = "auto"
    policy: Mapping[str, Any] = field(default_factory=dict)
    input_shape: Shape | None = None
    latent_dim: int = 128
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 2e-3
    noise: float = 0.0
    agreement: float = 0.0
    seed: int = 0
    validation_fraction: float = 0.1
    patience: int = 3
    start_from: str = ""

    def __post_init__(self) -> None:
        check_instance(self, _SHARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserOptions:
    """Everything that the training of a denoiser depends on.

    Attributes:
      inputs: URIs of shards: files, globs, directories.
      output: URI of the directory to write the bundle to.
      selection: which columns are read.
      format: format of the shards, or 'auto'.
      policy: fields of ``lake.images.types.Target`` besides the shape.
      steps: number of steps, of 8 crops each. The schedules of crop size and learning rate are stretched to this
        length.
      learning_rate: largest learning rate.
      seed: seed of weights, crops and noise.
      validation_fraction: share of the images that is held out.
      precision: 'float32', 'bfloat16', or 'auto' for bfloat16 if the machine multiplies it faster.
      checkpoint_steps: steps between two checkpoints.
      start_from: URI of a bundle, or ``zoo:NAME``, whose weights are those at the start; "" for new ones.
    """

    inputs: tuple[str, ...]
    output: str
    selection: ColumnSelection
    format: str = "auto"
    policy: Mapping[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    learning_rate: float = 2e-3
    seed: int = 0
    validation_fraction: float = 0.02
    precision: str = "auto"
    checkpoint_steps: int = 1000
    start_from: str = ""

    def __post_init__(self) -> None:
        check_instance(self, _SHARED)
