"""Networks that come as ONNX files: wrapped, so that they take pixels and give what a bundle's graphs give."""
