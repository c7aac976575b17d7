"""Recorruption: pairs of images with independent noise, made of one image whose noise level is known.

After Pang, Zheng, Quan and Ji, "Recorrupted-to-Recorrupted: unsupervised deep learning for image denoising", CVPR 2021.
With normal noise z of the image's own level, y + a z and y - z / a have the clean image in common and noise that is
independent, so the one can be told from the other as in Noise2Noise. Every z is used with both of its signs, which
leaves only what differs between them: the noise of the target itself, which is large for a small a, drops out. For
a -> 0 this is Stein's unbiased estimate of the error (Ramani, Blu and Unser, IEEE TIP 2008) at the image itself.

Functions take NumPy arrays or tensors, of shapes that broadcast.
"""

from typing import Any

RATIO = 0.5  # a: the level of the noise that is added in training, as a multiple of the image's own
PROBE = 0.1  # a: likewise, where only the error is measured


def recorrupted(noisy: Any, level: Any, normal: Any, ratio: float = RATIO) -> tuple[Any, Any]:
    """The two images of independent noise.

    Args:
      noisy: images with normal noise.
      level: standard deviation of it.
      normal: standard normal noise.
      ratio: a.

    Returns:
      The input, with noise of ``level_with(level, ratio)``, and the target.

    >>> recorrupted(10.0, 2.0, 1.0, ratio=0.5)
    (11.0, 6.0)
    """
    return noisy + ratio * level * normal, noisy - level * normal / ratio


def level_with(level: Any, ratio: float = RATIO) -> Any:
    """The standard deviation of the noise of an input.

    >>> level_with(4.0, ratio=0.75)
    5.0
    """
    return level * (1 + ratio**2) ** 0.5


def recorruption_error(plus: Any, minus: Any, noisy: Any, level: Any, normal: Any, ratio: float = RATIO) -> Any:
    """The error of what a network makes of the inputs with ``normal`` and with ``-normal``.

    Its expectation is the mean of the two squared errors against the clean image. It is the mean of the squared
    distances to the two targets, less their noise.

    Args:
      plus: output for the input with ``normal``.
      minus: output for the input with ``-normal``.
      noisy: the images.
      level: standard deviation of their noise.
      normal: standard normal noise.
      ratio: a.

    >>> recorruption_error(9.0, 9.0, 10.0, 0.5, 1.0)  # no noise passes: it is that of the target that is subtracted
    0.75
    """
    distances = ((plus - noisy) ** 2 + (minus - noisy) ** 2) / 2
    return distances + (plus - minus) * normal * level / ratio - level**2
