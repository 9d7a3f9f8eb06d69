"""A graph as a module of torch, interpreted node by node, so that its own initializers can be trained.

    torch_graph(graph) -> TorchGraph -- forward, weights, values

Initializers are the parameters, hence what was trained is written back under the same names, in the same layout.
"""

from onnxfp.embed.torch_graph.module import TorchGraph, torch_graph

__all__ = ["TorchGraph", "torch_graph"]
