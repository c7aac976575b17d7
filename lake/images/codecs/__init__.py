"""Image file formats: a module and a line of ``CODECS`` each; EXIF and ICC, which several of them contain."""

from lake.images.codecs import bmp, gif, isobmff, jpeg, jpeg2000, jpegxl, png, tiff, webp

_CODECS = (
    png.CODEC,
    jpeg.CODEC,
    webp.CODEC,
    tiff.CODEC,
    bmp.CODEC,
    gif.CODEC,
    isobmff.AVIF,
    jpeg2000.CODEC,
    isobmff.HEIC,
    jpegxl.CODEC,
)
CODECS = {codec.name: codec for codec in _CODECS}
