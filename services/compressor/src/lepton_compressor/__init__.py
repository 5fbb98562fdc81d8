"""The compressor service: turns trained models into small, fast ONNX models that are still right."""
