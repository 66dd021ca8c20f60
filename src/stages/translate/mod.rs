//! Text to text: MarianMT on ONNX Runtime.
