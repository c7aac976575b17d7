"""How large everything is that an ONNX graph computes, told from shapes alone, before anything is run."""
