"""Check a bundle: its files, its safety, its golden outputs, and the model's speed on this machine."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lake.core.container import cores
from lake.core.printable import printable
from lake.core.tensorflow import require_tensorflow
from lake.images.center_crop import CenterCrop
from model.bundle import GOLDEN_FILE, Bundle
from model.code import CODE_FILE
from model.condition import Condition, golden_conditions
from model.golden import golden_levels, unpack
from model.input_spec import Input, Noise, NoiseRange
from model.keras.bundled import load_bundled
from model.keras.preprocessing import outer_layers
from model.likeness import Likeness, OuterLayers, likeness
from model.runtime import choose_executor, executors_of
from model.runtime.runtime import Runtime
from model.spec import MAX_LATENT_REACH, MAX_REACH, Json, Latent, Quantization, Spec
from model.spec_json import to_json

_OPERATIONS = {True: "Keras' own layers", False: "operations of the ONNX standard"}
_SECONDS = 1.0  # length of each measurement of speed


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorReport:
    """The findings on one executor.

    Attributes:
      name: of the executor.
      differences: golden output -> largest difference, relative to the output's largest magnitude.
      load_seconds: time to audit and load the model and to check its golden outputs, without importing a library.
      rates: number of threads -> records per second, encoded (denoised, by a model without a latent; decoded, by a
        decoder alone).
    """

    name: str
    differences: Mapping[str, float]
    load_seconds: float
    rates: Mapping[int, float]

    def to_value(self) -> Json:
        """Return the report as JSON values."""
        return {
            "golden_differences": dict(self.differences),
            "load_seconds": round(self.load_seconds, 3),
            "records_per_second": {str(threads): round(rate) for threads, rate in self.rates.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleReport:
    """The findings on a bundle that passed every check.

    Attributes:
      bundle: the bundle.
      executors: what was found on each executor that runs the bundle, the first choice first.
      looks: how the golden outputs compare with the golden inputs; None for a model that does not put out images.
    """

    bundle: Bundle
    executors: Sequence["ExecutorReport"]
    looks: Likeness | None

    def to_value(self) -> Json:
        """Return the report as JSON values."""
        return {
            "bundle": self.bundle.uri,
            "digest": self.bundle.digest,
            "model": to_json(self.bundle.spec),
            **({"golden_outputs": self.looks.to_value()} if self.looks else {}),
            "executor": self.executors[0].name,
            **self.executors[0].to_value(),
            "executors": {one.name: one.to_value() for one in self.executors},
        }

    def describe(self) -> str:
        """Return the report as text for a person."""
        spec = self.bundle.spec
        source = "to input" if spec.kind == "decoder" else "from layer" if spec.has_keras_model else "from tensor"
        files = ", ".join(f"{name} {entry.size:,} bytes" for name, entry in spec.files.items())
        lines = {
            "bundle": f"{self.bundle.uri}, kind {spec.kind}: {', '.join(spec.functions)}",
            "digest": f"{self.bundle.digest}, and every file has the one recorded",
            "files": files,
            "safety": _safety(spec, allow_code=self.bundle.allow_code),
            "gives" if spec.kind == "decoder" else "input": describe_input(spec.input),
            **({"noise": describe_noise(spec.input.noise, spec.noise_range)} if spec.input.noise else {}),
            **({"told": describe_condition(spec.input.condition)} if spec.input.condition else {}),
            **({"latent": _describe_latent(spec, spec.latent, source)} if spec.latent else {}),
            **({"int8": "; ".join(describe_quantization(spec.quantization))} if spec.quantization else {}),
            **({"images": self.looks.describe()} if self.looks else {}),
        }
        doubts = self.looks.doubts if self.looks else ()
        described = [f"{name:<8}{text}" for name, text in lines.items()]
        for one in self.executors:
            described += [f"{name:<8}{text}" for name, text in _describe_executor(one, spec).items()]
        return "\n".join([*described, *(f"warning {doubt.text}; export the model again" for doubt in doubts)])


def _safety(spec: Spec, *, allow_code: bool) -> str:
    if spec.code is None:
        return f"only {_OPERATIONS[spec.has_keras_model]}; no code, no files from elsewhere"
    shown = printable(f"{spec.code.name} ({', '.join(spec.code.classes)})", 300)
    ran = "run here, for --allow-code was given" if allow_code else "not run here; TensorFlow runs it with --allow-code"
    return f"code of its own, from {shown}, SHA-256 {spec.files[CODE_FILE].sha256}: {ran}"


def _describe_executor(one: ExecutorReport, spec: Spec) -> dict[str, str]:
    differences = ", ".join(f"{name} {worst:.1g}" for name, worst in one.differences.items())
    return {
        "golden": f"{spec.golden.count} inputs on {one.name}; differences {differences} "
        f"(allowed {spec.golden.tolerance:g})",
        "load": f"{one.load_seconds:.2f} s",
        "speed": ", ".join(f"{rate:,.0f}/s with {n} thread{'s' * (n > 1)}" for n, rate in one.rates.items()),
    }


def describe_input(input: Input) -> str:
    """Describe what a model takes, for a person.

    >>> describe_input(Input(shape=(28, 28, 1), dtype="uint8", value_range=(0.0, 1.0), color="gray"))
    '28 x 28 x 1 gray, value range 0 to 1'
    """
    low, high = input.value_range
    shape = "any size" if input.any_size else " x ".join(map(str, input.shape))
    what = f"{shape} {input.color or input.dtype}, value range {low:g} to {high:g}"
    if (normalization := input.normalization) is not None:
        what += f", normalised by mean {_listed(normalization.mean)} and deviation {_listed(normalization.std)}"
        what += ", then blue first" if normalization.bgr else ""
    if isinstance(input.resize, CenterCrop):
        what += f", images resized to {input.resize.shorter} ({input.resize.interpolation}) and cropped"
    elif input.resize is not None:
        what += f", images of other sizes resized: {input.resize}"
    if not input.any_size:
        return what
    further = " or more" if input.reach in (MAX_REACH, MAX_LATENT_REACH) else ""
    return f"{what}; sides padded to multiples of {input.multiple}, a pixel sees {input.reach}{further} around it"


def _listed(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in (numbers[:1] if len(set(numbers)) == 1 else numbers))


def describe_noise(noise: Noise, known: NoiseRange | None = None) -> str:
    """Describe how a model is told the noise level, for a person.

    Args:
      noise: how it is told.
      known: the least and the greatest level that it learned; None where nobody says it.

    >>> describe_noise(Noise(form="map", input="noise_level", scale=1.0))
    "level told by input 'noise_level' (map), 1 for a deviation of all of white"
    >>> describe_noise(Noise(form="channel", input=None, scale=1.0), (5.0, 55.0))
    'level told by the last channel, 1 for a deviation of all of white; learned from 5 to 55, where white is 255'
    """
    where = "the last channel" if noise.input is None else f"input {noise.input!r} ({noise.form})"
    learned = f"; learned from {known[0]:g} to {known[1]:g}, where white is 255" if known else ""
    if (camera := noise.camera) is not None:
        learned += f", after noise of gain {camera.gain:g} and read noise {camera.read_noise:g} was made white"
    return f"level told by {where}, {noise.scale:g} for a deviation of all of white{learned}"


def describe_condition(condition: Condition) -> str:
    """Describe what a conditional model is told of each record, for a person.

    >>> describe_condition(Condition(input="y", column="label", length=10, classes=10))
    "one of 10 classes, by input 'y' (one-hot), of the column 'label'"
    """
    form = f" ({'one-hot' if condition.one_hot else 'its number'})" if condition.classes else ""
    what = f"one of {condition.classes} classes" if condition.classes else f"numbers, {condition.length} of each record"
    return f"{what}, by input {condition.input!r}{form}, of the column {condition.column!r}"


def describe_quantization(quantization: Quantization) -> list[str]:
    """Describe how a model computes in integers and what that costs, for a person, in lines.

    >>> describe_quantization(
    ...     Quantization(
    ...         precision="int8",
    ...         samples=48,
    ...         sha256="",
    ...         layers={"int8": 20, "float32": 3},
    ...         cost={"images": 40, "cosine": 0.9996, "least_cosine": 0.9991},
    ...     )
    ... )
    ['int8 in 20 of 23 layers, calibrated with 48 images', 'on 40 others: cosine 0.9996, least cosine 0.9991']
    """
    layers, cost = quantization.layers, dict(quantization.cost)
    first = f"{quantization.precision} in {layers['int8']} of {sum(layers.values())} layers"
    images = cost.pop("images", 0)
    others = [f"{name.replace('_', ' ')} {_figures(value)}" for name, value in cost.items()]
    return [f"{first}, calibrated with {quantization.samples} images", f"on {images} others: {', '.join(others)}"]


def _figures(value: Json) -> str:
    """One number, or those at several noise levels.

    >>> _figures({"15": 0.1, "25": 0.06})
    '0.1 at noise 15, 0.06 at noise 25'
    """
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{one} at noise {level}" for level, one in value.items())


def _describe_latent(spec: Spec, latent: Latent, source: str) -> str:
    shape = f" of shape {' x '.join(map(str, latent.shape))}" if len(latent.shape) > 1 else ""
    logarithm = f", logarithm of its variance from {spec.variance!r}" if spec.variance else ""
    numbers = f"{latent.dimension} numbers{shape}"
    if spec.input.any_size:
        numbers = f"{latent.shape[2]} numbers for each {spec.stride} x {spec.stride} pixels"
    also = "".join(f"; {one.name}: {one.dimension} from {one.layer!r}" for one in spec.further)
    return f"{numbers} {source} {latent.layer!r}{logarithm}{also}"


def check_bundle(uri: str, *, allow_code: bool = False) -> BundleReport:
    """Open a bundle, audit and load its model, compare its golden outputs and measure its speed.

    Args:
      uri: URI of the bundle.
      allow_code: run the code that it holds, if any. Without it, it is checked on ONNX Runtime alone.

    Raises:
      BundleError: a file is missing, damaged or unsafe, or the model gives other golden outputs.
    """
    bundle = Bundle.open(uri, allow_code=allow_code)
    if bundle.spec.has_keras_model:
        require_tensorflow("check")
    choose_executor(bundle)  # which says why there is none
    executors = [_on_executor(bundle, name) for name in executors_of(bundle)]
    return BundleReport(bundle=bundle, executors=executors, looks=_looks(bundle))


def _on_executor(bundle: Bundle, name: str) -> ExecutorReport:
    # The first load also imports the library, so the time of the second one is reported.
    Runtime.load(bundle, name)
    started = time.monotonic()
    runtime = Runtime.load(bundle, name)
    seconds = time.monotonic() - started
    # One thread shows the cost of a record, all cores what a worker reaches.
    rates = {threads: _rate(runtime, threads) for threads in sorted({1, cores()})}
    return ExecutorReport(name=name, differences=runtime.differences, load_seconds=seconds, rates=rates)


def _looks(bundle: Bundle) -> Likeness | None:
    uris, quantized = bundle.files(), bundle.spec.quantization is not None
    golden = unpack(bundle.read(GOLDEN_FILE), bundle.spec, uris[GOLDEN_FILE])
    if bundle.spec.code is not None and not bundle.allow_code:
        return None  # its layers are not known
    layers = outer_layers(load_bundled(bundle)) if bundle.spec.has_keras_model else OuterLayers()
    looks = likeness(bundle.spec, golden, layers)
    # Golden inputs are like nothing that scales were found for; the export has judged the outputs in float32.
    return replace(looks, doubts=()) if looks and quantized else looks


def _rate(runtime: Runtime, threads: int) -> float:
    input = runtime.spec.input
    batch = np.random.default_rng(0).integers(0, 256, (runtime.batch_size, *input.shape)).astype(input.dtype)
    levels = golden_levels(len(batch)) if runtime.spec.input.noise else None
    latents = np.random.default_rng(0).standard_normal((runtime.batch_size, runtime.spec.dimension), np.float32)
    told = None if input.condition is None else golden_conditions(input.condition, runtime.batch_size, 0)

    def run() -> None:
        if runtime.spec.kind == "decoder":
            runtime.decode(latents, condition=told)
        elif runtime.spec.latent:
            runtime.encode(batch, condition=told)
        else:
            runtime.restore(batch, levels)

    run()  # compiles the function
    started = time.monotonic()
    calls = [0] * threads

    def work(worker: int) -> None:
        while time.monotonic() < started + _SECONDS:
            run()
            calls[worker] += 1

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(calls) * runtime.batch_size / (time.monotonic() - started)
