"""What training shows a network, and what it minimises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from model.backend import keras, tensorflow
from model.views import moved

Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What is minimised.

    Attributes:
      value: the arrays that ``Objective.present`` gives, and whether this is training -> a scalar.
      variables: what it is minimised over.
    """

    value: Callable[[Sequence[Any], bool], Any]
    variables: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """How a kind of network is trained.

    Attributes:
      measure: what a loss is, for people.
      describe: a loss in words.
      arrays: how many arrays ``present`` makes of a batch, each of its shape: the first is what the network is shown,
        the second what it should make of that.
      present: from a batch, float32 with images in 0..1, and a source of chance.
      loss: of a model, given the variance of the data's elements (1 for images).
    """

    measure: str
    describe: Callable[[float], str]
    arrays: int
    present: Callable[[Floats, np.random.Generator], tuple[Any, ...]]
    loss: Callable[[Any, npt.NDArray[np.float64]], Loss]


def squared_error(noise: float = 0.0, agreement: float = 0.0) -> Objective:
    """Mean squared error, each element of a vector by its own variance.

    Args:
      noise: standard deviation of normal noise in what is shown; what is wanted has none, so the network learns to take
        it out (Vincent et al. 2008). White is 1.
      agreement: weight of how far the latents of an image and of a slightly moved copy of it are apart (see
        ``disagreement``), in a linear projection that is trained with the network and then dropped.
    """

    def present(batch: Floats, rng: np.random.Generator) -> tuple[Any, ...]:
        shown = [batch, moved(batch, rng)] if agreement else [batch]
        if noise:
            shown = [images + np.float32(noise) * rng.standard_normal(batch.shape, np.float32) for images in shown]
        return (shown[0], batch, *shown[1:])

    def loss(model: Any, variance: npt.NDArray[np.float64]) -> Loss:
        tf = tensorflow()
        weight = tf.constant(1 / variance, tf.float32)

        def value(arrays: Sequence[Any], training: bool) -> Any:
            return tf.reduce_mean(tf.square(model(arrays[0], training=training) - arrays[1]) * weight)

        plain = Loss(value=value, variables=model.trainable_variables)
        return _with_agreement(model, agreement) if agreement else plain

    return Objective(
        measure="mean squared error" + (f" + {agreement:g} x disagreement of moved images" if agreement else ""),
        describe=lambda value: f"loss {value:.5f}",
        arrays=3 if agreement else 2,
        present=present,
        loss=loss,
    )


def _with_agreement(model: Any, weight: float) -> Loss:
    tf = tensorflow()
    latent = model.get_layer("encoded").output
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
    """How far two views' projections [n, D] of the same images are apart, while neither collapses: VICReg.

    The mean squared difference, plus, for each view, how much the elements' standard deviations fall short of 1, plus
    0.04 of the squared covariances between elements (Bardes, Ponce and LeCun 2022, with its weights).
    """
    tf = tensorflow()
    spread = sum(_collapse(view) for view in (one, other))
    return tf.reduce_mean(tf.square(one - other)) + spread / 2


def _collapse(view: Any) -> Any:
    tf = tensorflow()
    centred = view - tf.reduce_mean(view, axis=0)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axis=0) + 1e-4)
    covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(view)[0], tf.float32)
    between = tf.reduce_sum(tf.square(covariance)) - tf.reduce_sum(tf.square(tf.linalg.diag_part(covariance)))
    return tf.reduce_mean(tf.nn.relu(1 - deviation)) + 0.04 * between / view.shape[-1]


def negative_elbo() -> Objective:
    """Minus the evidence lower bound in nats per image, by one draw of the latent (Kingma and Welling 2014).

    Pixels are black or white with the grey value as probability, drawn anew whenever an image is shown: the bound is
    then one of a true likelihood, and comparable with published ones.
    """

    def present(batch: Floats, rng: np.random.Generator) -> tuple[Any, ...]:
        drawn = (rng.random(batch.shape, np.float32) < batch).astype(np.float32)
        return drawn, drawn

    def loss(model: Any, _: npt.NDArray[np.float64]) -> Loss:
        tf = tensorflow()
        outputs = [model.get_layer(name).output for name in ("z_mean", "z_log_var", "logits")]
        parts = keras().Model(model.input, outputs)

        def value(arrays: Sequence[Any], _: bool) -> Any:
            mean, log_variance, logits = parts(arrays[0], training=True)  # in validation too the bound needs a draw
            surprise = tf.nn.sigmoid_cross_entropy_with_logits(labels=arrays[1], logits=logits)
            return tf.reduce_mean(tf.reduce_sum(surprise, axis=(1, 2, 3)) + divergence(mean, log_variance))

        return Loss(value=value, variables=model.trainable_variables)

    return Objective(
        measure="negative ELBO, nats per image",
        describe=lambda value: f"ELBO {-value:.2f} nats",
        arrays=2,
        present=present,
        loss=loss,
    )


def divergence(mean: Any, log_variance: Any) -> Any:
    """Kullback-Leibler divergence in nats of diagonal normal distributions [n, D] from the standard one: [n]."""
    tf = tensorflow()
    return 0.5 * tf.reduce_sum(tf.exp(log_variance) + tf.square(mean) - 1 - log_variance, axis=1)
