"""One step of a denoiser's training, compiled."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lake.core.tensorflow import tensorflow
from model.training.crops import Images
from model.training.steps import learn_from

DECIBEL = 10 / math.log(10)


def compiled(model: Any, average: Any, optimizer: Any, images: Images) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the training step of a denoiser, and the average of its weights in inference.

    Args:
      model: the network that is trained.
      average: another one of the same weights: their average.
      optimizer: built for the model's variables.
      images: what it is trained on.

    Returns:
      The step: of crops ``[n, H, W, C]``, levels and noise (see ``Batch``) and the share of the new weights in the
      average; gives the loss, minus the mean PSNR in dB. And the average: of a noisy image float32 ``[n, H, W, C]``
      and a map of levels ``[n, H, W, 1]``, white is 1; gives the image without noise.
    """
    tf = tensorflow()
    shape = (None, None, None, images.training[0].shape[-1])
    image, level = tf.TensorSpec(shape, tf.float32), tf.TensorSpec((None, 1, 1, 1), tf.float32)
    white = 255 if images.dtype == np.uint8 else 1

    def learn(pixels: Any, level: Any, noise: Any, share: Any) -> Any:
        clean = tf.cast(pixels, tf.float32) / white
        noisy = clean + noise * level
        levels = tf.broadcast_to(level, tf.shape(clean[..., :1]))
        with tf.GradientTape() as tape:
            error = tf.reduce_mean(tf.square(model([noisy, levels], training=True) - clean), axis=(1, 2, 3))
            # In decibels, so that every crop counts alike: otherwise the noisiest crops would dominate the mean.
            loss = tf.reduce_mean(tf.math.log(error + 1e-6)) * DECIBEL
        learn_from(tape, loss, model, average, optimizer, share)
        return loss

    levels = tf.TensorSpec((None, None, None, 1), tf.float32)
    return (
        tf.function(
            learn,
            input_signature=[tf.TensorSpec(shape, images.dtype), level, image, tf.TensorSpec((), tf.float32)],
            autograph=False,
        ),
        tf.function(
            lambda noisy, levels: average([noisy, levels], training=False),
            input_signature=[image, levels],
            autograph=False,
        ),
    )
