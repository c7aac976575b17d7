"""The parts of a model that was saved in several files."""

from dataclasses import dataclass
from pathlib import Path

from lake.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """An encoder and a decoder in files of their own, to be exported as one model; or one of them alone.

    Attributes:
      encoder: the file of the encoder; None for a decoder alone.
      decoder: the file of the decoder; None for an encoder alone.
      normal_prior: a decoder alone: its latents have a standard normal prior, so that images can be generated.

    Raises:
      UsageError: there is neither, or the prior is given where there is an encoder.

    >>> str(Parts(encoder=Path("e.keras"), decoder=Path("d.keras")))
    'e.keras + d.keras'
    """

    encoder: Path | None = None
    decoder: Path | None = None
    normal_prior: bool = False

    def __post_init__(self) -> None:
        if self.encoder is None and self.decoder is None:
            raise UsageError("no model is named: give FILE.keras, or its parts by --encoder and --decoder")
        if self.normal_prior and self.encoder is not None:
            raise UsageError(
                "--normal-prior is for --decoder alone; with an encoder --log-variance says that the prior is normal"
            )

    @property
    def files(self) -> dict[str, Path]:
        """The file of each part, by 'encoder' and 'decoder'."""
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        return {role: path for role, path in parts.items() if path is not None}

    def __str__(self) -> str:
        return " + ".join(map(str, self.files.values()))
