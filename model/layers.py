"""Re-export of this project's Keras layers under the module name that saved ``.keras`` files contain.

The layers themselves are defined in ``model.keras.layers``.
"""

from model.keras.layers import First, LegacyHardSigmoid, Sampling

__all__ = ["First", "LegacyHardSigmoid", "Sampling"]
