"""The executor of ONNX Runtime on a GPU of NVIDIA, where ``onnxruntime-gpu`` is installed."""

from lake.core.onnxruntime import onnxruntime
from model.bundle import Bundle
from model.graphs import has_graphs
from model.runtime.onnx import OnnxExecutor

_PROVIDER = "CUDAExecutionProvider"


class OnnxCudaExecutor(OnnxExecutor):
    """Runs bundles that have the graphs of their functions, on a GPU.

    Kernels of a GPU are chosen by the number of rows, so every call has one number of them. The processor computes what
    the GPU has no kernel for.
    """

    name = "onnx-cuda"
    any_rows = False
    # TF32 would round products to 10 bits, which the golden outputs do not allow.
    providers = ((_PROVIDER, {"use_tf32": "0"}), *OnnxExecutor.providers)

    @classmethod
    def runs(cls, bundle: Bundle) -> bool:
        return has_graphs(bundle.spec) and _PROVIDER in onnxruntime().get_available_providers()
