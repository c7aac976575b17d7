"""One step of a training without clean images, compiled."""

from collections.abc import Callable
from typing import Any

from lake.core.tensorflow import tensorflow
from model.training.self_supervised.ways import Way
from model.training.steps import learn_from


def compiled_step(
    way: Way, model: Any, average: Any, optimizer: Any, channels: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the training step, and the average of the weights in inference.

    Args:
      way: gives the loss.
      model: the network that is trained.
      average: another one of the same weights: their average.
      optimizer: built for the model's variables.
      channels: number C of the images' channels.

    Returns:
      The step: of the share of new weights in the average, crops ``[n, side, side, shots * C]``, the levels of their
      noise ``[n, 1, 1, 1]`` and what the way draws; gives the loss. And the average: of images ``[n, H, W, C]`` and
      levels ``[n, 1, 1, 1]``; gives the images without noise.
    """
    tf = tensorflow()

    def run(network: Any, noisy: Any, level: Any, *, training: bool) -> Any:
        if not way.told:
            return network(noisy, training=training)
        shape = tf.shape(noisy)
        return network([noisy, tf.broadcast_to(level, (shape[0], shape[1], shape[2], 1))], training=training)

    def learn(share: Any, noisy: Any, level: Any, *drawn: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = way.loss(lambda some, told: run(model, some, told, training=True), noisy, level, *drawn)
        learn_from(tape, loss, model, average, optimizer, share)
        return loss

    def clean(noisy: Any, level: Any) -> Any:
        return run(average, noisy, level, training=False)

    specs = [tf.TensorSpec((None, None, None, channels), tf.float32), tf.TensorSpec((None, 1, 1, 1), tf.float32)]
    return tf.function(learn, autograph=False), tf.function(clean, input_signature=specs, autograph=False)
