"""The flags of ``latentlake export``, as a table."""

from lake.cli.option import Option, finite_number, number_or_word, positive
from lake.cli.options import STORES
from lake.images.center_crop import Interpolation
from lake.images.types import Resize
from model.cli.train_options import rate
from model.input_spec import CHANNELS
from model.normalization import PRESETS
from model.resizing import pixels_or_policy

ALLOW_CODE = Option(
    flag="--allow-code",
    group="run",
    field="allow_code",
    switch=True,
    help="run the code that the bundle holds for layers of its own (export --code), where TensorFlow computes it; read "
    "it first: it can do whatever you can",
)
SHAPE = Option(
    flag="--input-shape",
    field="input_shape",
    type=positive,
    many=True,
    metavar="SIDE",
    help="input shape, if the model leaves it open: H W C, or d",
)
EXPORT = (
    Option(
        flag="--latent",
        field="latent",
        repeated=True,
        metavar="[NAME=]LAYER",
        help="layer whose output is the latent; encoder/LAYER within a nested model, or the nested model's own name; "
        "without it the bundle only denoises, images of any size where the model takes them; of several outputs, the "
        "name or position of one; given several times, encode can write several in one pass",
    ),
    Option(
        flag="--log-variance",
        field="variance",
        metavar="LAYER",
        help="layer whose output is the logarithm of each latent's variance (variational autoencoders only)",
    ),
    Option(
        flag="--encoder",
        field="encoder",
        metavar="FILE",
        help="in place of FILE.keras: the file of an encoder, whose output, or that named by --latent, is the latent",
    ),
    Option(
        flag="--decoder",
        field="decoder",
        metavar="FILE",
        help="in place of FILE.keras: the file of a decoder, joined to --encoder; alone, the bundle decodes latents",
    ),
    Option(
        flag="--normal-prior",
        field="normal_prior",
        switch=True,
        help="--decoder alone: its latents have a standard normal prior, so that the bundle also generates images",
    ),
    Option(
        flag="--code",
        field="code",
        metavar="FILE.py",
        help="the file of Python that defines the model's own layers: it is run now, and is kept in the bundle where "
        "the model needs it, which jobs on TensorFlow take with --allow-code only",
    ),
    Option(
        flag="--allow-graph",
        field="allow_graph",
        switch=True,
        help="FILE is a TensorFlow SavedModel, which is a program: check its operations, load it, and convert it to "
        "ONNX; --latent and --log-variance name outputs of its signature",
    ),
    Option(
        flag="--serving-signature",
        field="serving_signature",
        metavar="NAME",
        help="which signature of a SavedModel (default serving_default, or the only one)",
    ),
    Option(
        flag="--output",
        field="output",
        metavar="BUNDLE",
        help="directory to write the bundle to (required, but for --again)",
    ),
    Option(
        flag="--again",
        field="again",
        switch=True,
        help="FILE.keras is a bundle of an earlier version: add what ONNX Runtime runs, to it or to a copy at --output",
    ),
    Option(
        flag="--value-range",
        field="value_range",
        type=float,
        takes="a number",
        arity=2,
        metavar="VALUE",
        help="values of black and white in training (default 0 1)",
    ),
    Option(
        flag="--output-range",
        field="output_range",
        type=float,
        takes="a number",
        arity=2,
        metavar="VALUE",
        help="values of black and white that the model puts out (default: those of --value-range)",
    ),
    Option(
        flag="--mean",
        field="mean",
        type=float,
        takes="a number",
        many=True,
        metavar="VALUE",
        help="what training subtracted from each channel, R G B or one number for all, in values of --value-range",
    ),
    Option(
        flag="--std",
        field="std",
        type=float,
        takes="a number",
        many=True,
        metavar="VALUE",
        help="what it divided each channel by after that, likewise; the model's output is taken to be normalised, too, "
        "unless --output-range is given",
    ),
    Option(flag="--bgr", field="bgr", switch=True, help="the model takes, and puts out, blue first"),
    Option(
        flag="--preset",
        field="preset",
        choices=tuple(PRESETS),
        help="imagenet: the --mean and --std of torchvision; caffe, tf: as preprocess_input of keras.applications does",
    ),
    Option(
        flag="--resize",
        field="resize",
        type=pixels_or_policy,
        takes=f"a number of pixels, or {', '.join(Resize)}",
        metavar="N|POLICY",
        help="how a job brings images to the model's size: scaled so that the shorter side has N pixels, of which the "
        f"centre is taken; or {', '.join(Resize)}, for images of other sizes (default: such an image is a reject)",
    ),
    Option(
        flag="--crop",
        field="crop",
        type=positive,
        many=True,
        metavar="SIDE",
        help="with --resize N: size of what is taken, which is the model's input",
    ),
    Option(
        flag="--interpolation",
        field="interpolation",
        choices=tuple(Interpolation),
        help="with --resize N: the filter (default bilinear)",
    ),
    Option(
        flag="--any-output",
        field="any_output",
        switch=True,
        help="take the model though its outputs for the golden inputs do not look right",
    ),
    Option(
        flag="--color",
        field="color",
        choices=tuple(CHANNELS),
        help="meaning of the channels (default: by their number)",
    ),
    Option(
        flag="--noise-input",
        field="noise_input",
        metavar="NAME",
        help="second input, which takes the noise level; 'channel' if the last channel of the only input does",
    ),
    Option(
        flag="--noise-scale",
        field="noise_scale",
        type=rate,
        takes="a number above 0",
        metavar="S",
        help="value of that input in training for a standard deviation of all of white: 1 (default) or 255",
    ),
    Option(
        flag="--noise-range",
        field="noise_range",
        type=finite_number,
        arity=2,
        metavar="SIGMA",
        help="least and greatest noise level of the training, where white is 255: jobs keep images below it from "
        "becoming worse, and show which are outside of it",
    ),
    Option(
        flag="--condition",
        field="condition",
        metavar="INPUT[=COLUMN]",
        help="second input of a conditional model, which takes a class or other numbers of a record, and the column of "
        "the records that has them (default: of that name; json.label is a field of the column json)",
    ),
    Option(
        flag="--condition-classes",
        field="condition_classes",
        type=number_or_word,
        many=True,
        metavar="N|NAME",
        help="with --condition: it is a class, one of N, or of these names in order, as its number or one-hot by what "
        "the input takes (default: the numbers of a record)",
    ),
    Option(
        flag="--precision",
        field="precision",
        choices=("float32", "bfloat16", "int8"),
        help="precision of convolutions and dense layers (default: that of the file); bfloat16 is twice as fast on "
        "processors that have it, int8 on those with VNNI, and both change the output slightly; in int8 a model with a "
        "latent only encodes",
    ),
    Option(
        flag="--calibrate",
        field="calibrate",
        metavar="DIR",
        help="int8 only: images like those of the job, of any format that it reads, some dozens of which are used to "
        "find the scales of layers and to measure what int8 costs; without noise for a denoiser",
    ),
    SHAPE,
    *STORES,
)
