"""Figures of papers: mean PSNR in dB by set, method and noise level.

DnCNN: Zhang et al., Beyond a Gaussian Denoiser, 2017 (one network for each level). FFDNet: Zhang et al., FFDNet, 2018.
BM3D and CBM3D as these papers have them. Both measure outputs that were rounded to 8 bits.
"""

_Figures = dict[int, float]


def _levels(*values: float) -> _Figures:
    return dict(zip((15, 25, 50), values, strict=True))


PUBLISHED: dict[str, dict[str, _Figures]] = {
    "bsd68": {
        "FFDNet": _levels(31.63, 29.19, 26.29),
        "DnCNN-S": _levels(31.73, 29.23, 26.23),
        "BM3D": _levels(31.07, 28.57, 25.62),
    },
    "set12": {
        "FFDNet": _levels(32.75, 30.43, 27.32),
        "DnCNN-S": _levels(32.86, 30.43, 27.18),
        "BM3D": _levels(32.37, 29.97, 26.72),
    },
    "CBSD68": {"FFDNet": _levels(33.87, 31.21, 27.96), "BM3D": _levels(33.52, 30.71, 27.38)},
    "Kodak24": {"FFDNet": _levels(34.63, 32.13, 28.98), "BM3D": _levels(34.28, 31.68, 28.46)},
    "McMaster": {"FFDNet": _levels(34.66, 32.35, 29.18), "BM3D": _levels(34.06, 31.66, 28.51)},
}
