"""An ONNX model as MLServer's documentation says that a runtime of one's own is written."""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    """The first output for the first input, whatever its name."""

    async def load(self) -> bool:
        self.session = onnxruntime.InferenceSession(await get_model_uri(self._settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        values = NumpyCodec.decode_input(payload.inputs[0])
        takes, gives = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        (answer,) = self.session.run([gives], {takes: values})
        output = NumpyCodec.encode_output(gives, answer)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
