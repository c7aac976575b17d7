"""Objectives: how a batch becomes the network's input and target, and the loss that is minimized."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lake.core.tensorflow import keras, tensorflow
from model.pixels import Floats
from model.training.augment import random_affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A loss and the variables it is minimized over.

    Attributes:
      value: function of the arrays that ``Objective.prepare`` returns and whether this is training; gives a scalar.
      variables: the variables that are trained.
    """

    value: Callable[[Sequence[Any], bool], Any]
    variables: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """How a kind of network is trained.

    Attributes:
      measure: name of the loss, for people.
      describe: formats a value of the loss, for people.
      arrays: number of arrays that ``prepare`` makes of a batch, each of its shape.
      prepare: makes those arrays of a float32 batch (images in 0..1) and a random generator. The first array is the
        network's input, the second its target.
      loss: makes the loss of a model, given the variance of the data's elements (1 for images).
    """

    measure: str
    describe: Callable[[float], str]
    arrays: int
    prepare: Callable[[Floats, np.random.Generator], tuple[Any, ...]]
    loss: Callable[[Any, npt.NDArray[np.float64]], Loss]


def squared_error(noise: float = 0.0, agreement: float = 0.0) -> Objective:
    """Return the objective of an autoencoder: mean squared error, each element of a vector divided by its variance.

    Args:
      noise: standard deviation of the normal noise on the input, white is 1. The target has none, so the network learns
        to remove it (denoising autoencoder, Vincent et al. 2008).
      agreement: weight of the distance between the latents of an image and of a randomly transformed copy of it; see
        ``disagreement``. The latents are compared after a linear projection, which is trained too and then dropped.
    """

    def prepare(batch: Floats, rng: np.random.Generator) -> tuple[Any, ...]:
        shown = [batch, random_affine(batch, rng)] if agreement else [batch]
        if noise:
            shown = [images + np.float32(noise) * rng.standard_normal(batch.shape, np.float32) for images in shown]
        return (shown[0], batch, *shown[1:])

    def loss(model: Any, variance: npt.NDArray[np.float64]) -> Loss:
        tf = tensorflow()
        # Elements with a large variance would dominate the error.
        weight = tf.constant(1 / variance, tf.float32)

        def value(arrays: Sequence[Any], training: bool) -> Any:
            return tf.reduce_mean(tf.square(model(arrays[0], training=training) - arrays[1]) * weight)

        plain = Loss(value=value, variables=model.trainable_variables)
        return _with_agreement(model, agreement) if agreement else plain

    return Objective(
        measure="mean squared error" + (f" + {agreement:g} x disagreement of moved images" if agreement else ""),
        describe=lambda value: f"loss {value:.5f}",
        arrays=3 if agreement else 2,
        prepare=prepare,
        loss=loss,
    )


def _with_agreement(model: Any, weight: float) -> Loss:
    tf = tensorflow()
    latent = model.get_layer("encoded").output
    # The projection keeps the agreement from acting on the latent itself; after training it is dropped.
    projected = keras().layers.Dense(latent.shape[-1], use_bias=False, name="projection")(latent)
    whole = keras().Model(model.input, [model.output, projected])
    half = keras().Model(model.input, projected)

    def value(arrays: Sequence[Any], training: bool) -> Any:
        shown, wanted, other = arrays
        output, projections = whole(shown, training=training)
        apart = disagreement(projections, half(other, training=training))
        return tf.reduce_mean(tf.square(output - wanted)) + weight * apart

    return Loss(value=value, variables=whole.trainable_variables)


def disagreement(one: Any, other: Any) -> Any:
    """Return the VICReg loss of two views (Bardes, Ponce and LeCun 2022, with the paper's weights).

    It is the mean squared distance of the views, plus two terms that keep each view from collapsing: how far the
    standard deviations of its elements fall short of 1, and 0.04 times the squared covariances between elements.

    Args:
      one: projected latents of some images, ``[n, D]``.
      other: projected latents of transformed copies of the same images, ``[n, D]``.

    Returns:
      A scalar.
    """
    tf = tensorflow()
    invariance = tf.reduce_mean(tf.square(one - other))
    return invariance + sum(_collapse(view) for view in (one, other)) / 2


def _collapse(view: Any) -> Any:
    tf = tensorflow()
    # VICReg's variance term (a hinge at standard deviation 1) and covariance term (off-diagonal elements).
    centred = view - tf.reduce_mean(view, axis=0)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axis=0) + 1e-4)
    covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(view)[0], tf.float32)
    between = tf.reduce_sum(tf.square(covariance)) - tf.reduce_sum(tf.square(tf.linalg.diag_part(covariance)))
    return tf.reduce_mean(tf.nn.relu(1 - deviation)) + 0.04 * between / view.shape[-1]


def negative_elbo() -> Objective:
    """Return the objective of a variational autoencoder: the negative evidence lower bound in nats per image.

    It is estimated with one sample of the latent (Kingma and Welling 2014). The pixels are binarized at random, with
    the gray value as probability, each time an image is used. So the bound is one of a true likelihood, and comparable
    with published ones.
    """

    def prepare(batch: Floats, rng: np.random.Generator) -> tuple[Any, ...]:
        sampled = (rng.random(batch.shape, np.float32) < batch).astype(np.float32)
        return sampled, sampled

    def loss(model: Any, _: npt.NDArray[np.float64]) -> Loss:
        tf = tensorflow()
        outputs = [model.get_layer(name).output for name in ("z_mean", "z_log_var", "logits")]
        parts = keras().Model(model.input, outputs)

        def value(arrays: Sequence[Any], _: bool) -> Any:
            # training=True in validation as well: the bound is an expectation over samples of the latent.
            mean, log_variance, logits = parts(arrays[0], training=True)
            surprise = tf.nn.sigmoid_cross_entropy_with_logits(labels=arrays[1], logits=logits)
            return tf.reduce_mean(tf.reduce_sum(surprise, axis=(1, 2, 3)) + divergence(mean, log_variance))

        return Loss(value=value, variables=model.trainable_variables)

    return Objective(
        measure="negative ELBO, nats per image",
        describe=lambda value: f"ELBO {-value:.2f} nats",
        arrays=2,
        prepare=prepare,
        loss=loss,
    )


def divergence(mean: Any, log_variance: Any) -> Any:
    """Return the Kullback-Leibler divergence of diagonal normal distributions from the standard normal one.

    Args:
      mean: ``[n, D]``.
      log_variance: logarithm of the variance, ``[n, D]``.

    Returns:
      Nats, ``[n]``.
    """
    tf = tensorflow()
    return 0.5 * tf.reduce_sum(tf.exp(log_variance) + tf.square(mean) - 1 - log_variance, axis=1)
