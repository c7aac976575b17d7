"""The Keras model of a bundle."""

from typing import Any

from model.bundle import MODEL_FILE, Bundle
from model.code import CODE_FILE, Code, refuse_code
from model.keras.load import load_model
from model.keras.own_classes import running


def load_bundled(bundle: Bundle) -> Any:
    """Audit and load the model of a bundle; its own code is run, where somebody has allowed that.

    Raises:
      BundleError: the model is damaged or unsafe, or has code that nobody has allowed to run.
    """
    code = None
    if bundle.spec.code is not None:
        if not bundle.allow_code:
            raise refuse_code(bundle.uri)
        code = Code(name=f"{bundle.uri}/{CODE_FILE}", data=bundle.read(CODE_FILE))
    with running(code):
        return load_model(bundle.read(MODEL_FILE), bundle.files()[MODEL_FILE])
