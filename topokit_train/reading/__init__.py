"""Models whose graph is known: ONNX files, torch modules and .pt2 programs. topokit.extraction traces them."""
