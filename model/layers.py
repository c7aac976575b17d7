"""Re-export of this project's Keras layers under the module name that saved ``.keras`` files contain.

The layers themselves are defined in ``model.keras.layers``.
"""

from model.keras.layers import LegacyHardSigmoid, Sampling

__all__ = ["LegacyHardSigmoid", "Sampling"]
