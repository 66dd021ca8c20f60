//! Recording to speaker embedding: OpenVoice on ONNX Runtime.
