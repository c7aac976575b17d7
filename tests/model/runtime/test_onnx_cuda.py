"""The executor of GPUs, as far as a machine without one can try it."""

import numpy as np
import pytest

from lake.core.errors import BundleError
from model.bundle import Bundle
from model.runtime import EXECUTORS, choose_executor, executors_of
from model.runtime.onnx import OnnxExecutor
from model.runtime.onnx_cuda import OnnxCudaExecutor
from model.runtime.runtime import Runtime

ZOO = "zoo:mnist-autoencoder"


class OnProcessor(OnnxCudaExecutor):
    providers = OnnxExecutor.providers


def test_without_a_gpu_it_says_what_is_missing() -> None:
    bundle = Bundle.open(ZOO)
    assert "onnx-cuda" in EXECUTORS and "onnx-cuda" not in executors_of(bundle)
    with pytest.raises(BundleError, match=r"'onnx-cuda' needs a GPU of NVIDIA.* \[gpu-onnx\]"):
        choose_executor(bundle, "onnx-cuda")


def test_calls_of_one_size_give_what_calls_of_any_size_give() -> None:
    bundle = Bundle.open(ZOO)
    fixed = Runtime(OnProcessor.load(bundle), bundle.spec)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    assert not fixed.any_rows
    np.testing.assert_array_equal(fixed.encode(images), Runtime.load(bundle, "onnx").encode(images))
