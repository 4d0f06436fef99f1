"""Batch normalisation after a convolution as a part of it, before a network is written as ONNX.

In evaluation it is linear, gamma (conv(x) - mean) / sqrt(var + eps) + beta (Ioffe and Szegedy 2015,
arXiv 1502.03167, algorithm 2). torch.onnx folds it too, but only once it has translated it: of
tf_efficientnet_l2, which has 259, that took 15 of 76 s.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.export import ExportedProgram

from weightsearch.depth.inference import same_padding

CONVOLUTIONS = (torch.ops.aten.conv2d.default, same_padding.OPERATOR)
"""All take x, weight and bias first."""
BATCH_NORM = torch.ops.aten.batch_norm.default


def fold(program: ExportedProgram) -> None:
    """Folds what it can, in the program alone: the network that it is of stays as it is.

    What is left: other orders (DenseNet normalises first), and what something else uses too.
    """
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for norm in program.graph.find_nodes(op="call_function", target=BATCH_NORM):
        conv, gamma, beta, mean, var, in_training, _, eps = norm.args[:8]
        if conv.target not in CONVOLUTIONS or in_training or len(conv.users) > 1:
            continue
        weight, bias = (*conv.args, None)[1:3]
        held = [weight, gamma, beta, mean, var, *([bias] if bias is not None else [])]
        if any(node is None or node.name not in names or len(node.users) > 1 for node in held):
            continue
        w, g, b, m, v, *before = (program.state_dict[names[node.name]].detach() for node in held)
        factor = g / (v.double() + eps).sqrt()
        shift = b + (sum(before) - m) * factor
        program.state_dict[names[weight.name]] = nn.Parameter(w * factor.to(w).view(-1, 1, 1, 1))
        program.state_dict[names[beta.name]] = nn.Parameter(shift.to(b))
        conv.args = (conv.args[0], weight, beta, *conv.args[3:])
        norm.replace_all_uses_with(conv)
        program.graph.erase_node(norm)
