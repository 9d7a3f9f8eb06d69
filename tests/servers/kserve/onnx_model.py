"""An ONNX model as KServe's documentation says that a predictor of one's own is written."""

from __future__ import annotations

import sys

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class OnnxModel(Model):
    """The first output for the first input, whatever its name."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.session = onnxruntime.InferenceSession(path)
        self.ready = True

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        takes, gives = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        (answer,) = self.session.run([gives], {takes: payload.inputs[0].as_numpy()})
        output = InferOutput(gives, list(answer.shape), "FP32")
        output.set_data_from_numpy(answer, binary_data=payload.use_binary_outputs)
        return InferResponse(payload.id or "", self.name, [output], use_binary_outputs=payload.use_binary_outputs)


if __name__ == "__main__":
    http, grpc, path = sys.argv[1:]
    ModelServer(http_port=int(http), grpc_port=int(grpc), workers=1).start([OnnxModel("m", path)])
