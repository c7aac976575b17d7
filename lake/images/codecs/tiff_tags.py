"""Numbers of TIFF's tags and of their values (TIFF 6.0, Adobe, 1992; supplements and registered ones)."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 273, 274, 277
ROWS, STRIP_BYTES, PLANES, PREDICTOR = 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES, EXTRA, KIND, XMP, PROFILE = 322, 323, 324, 325, 338, 339, 700, 34675

# Compressions.
JPEG, LZMA = 7, 34925
COMPRESSIONS = {1, 3, 4, 5, JPEG, 8, 32773, 32946, LZMA, 50000}  # none, fax, LZW, Deflate, PackBits, old Deflate, zstd
PREDICTED = {5, 8, 32946, LZMA, 50000}  # those with a predictor: all but fax, JPEG and PackBits

# Photometric interpretations.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6

UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4  # sample formats
NO_PREDICTOR, HORIZONTAL, FLOATING = 1, 2, 3  # predictors
UNSPECIFIED, PREMULTIPLIED, ALPHA = 0, 1, 2  # values of ExtraSamples: no alpha, associated and unassociated alpha
