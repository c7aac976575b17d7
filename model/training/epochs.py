"""Run the epochs of a training: steps, checkpoints, and the best weights so far."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lake.core.errors import UsageError
from lake.core.tensorflow import keras, tensorflow
from model.input_spec import Shape
from model.spec import Json
from model.training.checkpoint import Checkpoint, Stops, digest_of, never_stops
from model.training.kinds import Kind
from model.training.losses import Loss, Objective
from model.training.options import TrainingOptions
from model.training.samples import TrainingSamples, normalized
from model.training.start import began


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The result of one epoch.

    Attributes:
      epoch: its number, from 1.
      loss: mean loss of the training samples.
      val_loss: mean loss of the validation samples afterwards.
      seconds: how long it took.
    """

    epoch: int
    loss: float
    val_loss: float
    seconds: float


class Watcher:
    """Receives the progress of a training. This base class ignores it."""

    def loading(self) -> None:
        """Called before the samples are read."""

    def begin(self) -> Stops:
        """Called once they are read, before the first step.

        Returns:
          What is asked after each step of an epoch, with the number of samples that it was trained on.
        """
        return never_stops

    def step(self, epoch: int, done: int, samples: int) -> None:
        """Called after each step.

        Args:
          epoch: number of the epoch.
          done: number of samples that were trained on in this epoch.
          samples: number of all training samples.
        """

    def epoch(self, epoch: Epoch) -> None:
        """Called after each epoch."""


class _StoppedError(Exception):
    """The watcher wants no further step."""


class Epochs:
    """The state of a training: weights, optimizer, random numbers, epochs, and the best weights so far."""

    def __init__(
        self, options: TrainingOptions, kind: Kind, objective: Objective, shape: Shape, samples: TrainingSamples
    ) -> None:
        tensorflow(training=True)
        # Before the network is built, because its initial weights are random.
        keras().utils.set_random_seed(options.seed)
        self._options = options
        self.model = kind.build(shape, options.latent_dim, samples.statistics)
        # What the checkpoint and the card say of the weights at the start.
        self.began = began(options.start_from, self.model)
        self._trainer = _Trainer(options, kind.decay, objective, self.model, samples)
        self._best = [keras().Variable(weight, trainable=False) for weight in self.model.get_weights()]
        self.epochs: list[Epoch] = []
        self.checkpoint = Checkpoint(options.output, {**_identity(options, shape, samples), **self.began})

    @property
    def best(self) -> Epoch:
        """The first epoch of the lowest validation loss."""
        return min(self.epochs, key=lambda epoch: epoch.val_loss)

    def train(self, watcher: Watcher) -> bool:
        """Run the remaining epochs; the model then has the best weights.

        Returns:
          Whether the watcher stopped it before the last epoch.

        Raises:
          KeyboardInterrupt: the watcher stopped it before the first epoch had ended.
        """
        self._restore()
        stops, stopped = watcher.begin(), False
        try:
            while not self._is_done():
                self._epoch(watcher, stops)
        except _StoppedError:
            stopped = True
            if not self.epochs:
                raise KeyboardInterrupt from None
        # Early stopping: the last epochs are worse than the best one.
        self.model.set_weights([variable.numpy() for variable in self._best])
        return stopped

    def _is_done(self) -> bool:
        done = len(self.epochs)
        return done == self._options.epochs or bool(done and done - self.best.epoch >= self._options.patience)

    def _epoch(self, watcher: Watcher, stops: Stops) -> None:
        epoch = self._trainer.epoch(len(self.epochs) + 1, watcher, stops)
        self.epochs.append(epoch)
        watcher.epoch(epoch)
        if self.best is epoch:
            for variable, weight in zip(self._best, self.model.get_weights(), strict=True):
                variable.assign(weight)
        progress = {"epochs": [asdict(epoch) for epoch in self.epochs], "random": self._trainer.random}
        self.checkpoint.save(progress, self._variables())

    def _restore(self) -> None:
        if (saved := self.checkpoint.restore(self._variables())) is not None:
            self.epochs = [Epoch(**epoch) for epoch in saved["epochs"]]
            self._trainer.random = saved["random"]

    def _variables(self) -> list[Any]:
        # The model's own hold the states of random layers, too. A variable of both is saved once.
        every = [*self.model.variables, *self._trainer.variables, *self._best]
        return list({id(variable): variable for variable in every}.values())


def _identity(options: TrainingOptions, shape: Shape, samples: TrainingSamples) -> dict[str, Json]:
    """What two trainings have in common that give the same weights."""
    names = ("kind", "latent_dim", "epochs", "batch_size", "learning_rate", "noise", "agreement", "seed", "patience")
    kept = [samples.validation, *([] if samples.cached is None else [samples.cached])]
    return {
        **{name: getattr(options, name) for name in (*names, "validation_fraction")},
        "shape": list(shape),
        "samples": samples.count,
        "images": digest_of(kept),
    }


class _Trainer:
    """Runs epochs. The learning rate is constant at first and falls to 0 along a cosine at the end of the training."""

    def __init__(
        self, options: TrainingOptions, decay: float, objective: Objective, model: Any, samples: TrainingSamples
    ) -> None:
        self._options, self._samples, self._prepare, self._decay = options, samples, objective.prepare, decay
        self._rng = np.random.default_rng(options.seed)
        self._optimizer = keras().optimizers.Adam(options.learning_rate)
        # Elements of a vector may have different units, so each is weighted; pixels all have the same.
        variance = samples.statistics.variance if samples.validation.ndim == 2 else np.ones(1)
        signature = [tensorflow().TensorSpec((None, *samples.validation.shape[1:]), "float32")] * objective.arrays
        loss = objective.loss(model, variance)
        self._step, self._loss = _functions(self._optimizer, loss, signature)
        self.variables = [*loss.variables, *self._optimizer.variables]

    @property
    def random(self) -> Json:
        """The state of the random numbers of order and noise."""
        return self._rng.bit_generator.state

    @random.setter
    def random(self, state: Json) -> None:
        self._rng.bit_generator.state = state

    def epoch(self, number: int, watcher: Watcher, stops: Stops) -> Epoch:
        """Train for one epoch and measure the validation loss.

        Raises:
          _StoppedError: no further step is wanted.
        """
        started = time.monotonic()
        epoch = Epoch(
            epoch=number,
            loss=self._train(number, watcher, stops),
            val_loss=self._validate(),
            seconds=time.monotonic() - started,
        )
        if not math.isfinite(epoch.loss + epoch.val_loss):
            raise UsageError(f"the loss is not finite in epoch {number}; give a smaller --learning-rate")
        return epoch

    def _train(self, number: int, watcher: Watcher, stops: Stops) -> float:
        total, done, count = 0.0, 0, self._samples.count
        for batch in self._samples.batches(self._options.batch_size, self._rng):
            self._optimizer.learning_rate.assign(self._rate((number - 1 + done / count) / self._options.epochs))
            total += float(self._step(*self._prepare(batch, self._rng))) * len(batch)
            done += len(batch)
            watcher.step(number, done, count)
            if stops(done):
                raise _StoppedError
        return total / done

    def _rate(self, share: float) -> float:
        """Return the learning rate when this share of the training is done, 0 to 1."""
        falling = max(0.0, (share - (1 - self._decay)) / self._decay)
        return self._options.learning_rate * (0.5 + 0.5 * math.cos(math.pi * falling))

    def _validate(self) -> float:
        rng, total = np.random.default_rng(self._options.seed), 0.0  # the same noise after every epoch
        samples, size = self._samples.validation, self._options.batch_size
        for start in range(0, len(samples), size):
            batch = normalized(samples[start : start + size])
            total += float(self._loss(*self._prepare(batch, rng))) * len(batch)
        return total / len(samples)


def _functions(optimizer: Any, loss: Loss, signature: list[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the training step, and the loss without a step."""
    tf = tensorflow()

    def step(*arrays: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss.value(arrays, True)
        optimizer.apply(tape.gradient(value, loss.variables), loss.variables)
        return value

    optimizer.build(loss.variables)
    return (
        tf.function(step, input_signature=signature, autograph=False),
        tf.function(lambda *arrays: loss.value(arrays, False), input_signature=signature, autograph=False),
    )
