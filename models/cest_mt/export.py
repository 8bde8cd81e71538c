"""Networks as ONNX graphs: physical quantities in, physical quantities out.

The graphs are written node by node: they are small, and so they hold exactly what the torch
modules compute, with no exporter's version in between.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.cest_mt.network import SMALLEST_SD, InputScaling, ParameterNetwork, SignalNetwork
from models.cest_mt.specification import Range

OPSET = 18
_IR_VERSION = 8
VOXELS = "voxels"


class _Graph:
    """Collects nodes and constants; every method gives the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Tensor | np.ndarray | float, name: str) -> str:
        array = np.asarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, values: list[int], name: str) -> str:
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, operation: str, *inputs: str, name: str, **attributes: int) -> str:
        self.nodes.append(
            helper.make_node(operation, inputs, [name], name, None, None, None, **attributes)
        )
        return name

    def dense(self, layers: nn.Sequential, value: str, smooth: bool) -> str:
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        for index, layer in enumerate(linear):
            weight = self.constant(layer.weight.detach(), f"weight_{index}")
            bias = self.constant(layer.bias.detach(), f"bias_{index}")
            value = self.node("Gemm", value, weight, bias, name=f"dense_{index}", transB=1)
            if index + 1 == len(linear):
                return value
            if smooth:
                gate = self.node("Sigmoid", value, name=f"gate_{index}")
                value = self.node("Mul", value, gate, name=f"silu_{index}")
            else:
                value = self.node("Relu", value, name=f"relu_{index}")
        raise ValueError("a network needs at least one layer")

    def scaled(self, scaling: InputScaling) -> str:
        """Bounds, logarithm and scaling of the named inputs, side by side."""
        names = [quantity.name for quantity in scaling.ranges]
        value = self.node("Concat", *names, name="conditions", axis=1)
        lower = self.constant(scaling.lower, "lower")
        upper = self.constant(scaling.upper, "upper")
        value = self.node("Max", value, lower, name="at_least_lower")
        value = self.node("Min", value, upper, name="bounded")
        low, high = scaling.lower.double(), scaling.upper.double()
        logarithmic = scaling.logarithmic
        if bool(logarithmic.any()):
            self.constants.append(numpy_helper.from_array(logarithmic.numpy(), "logarithmic"))
            positive = self.node(
                "Max", value, self.constant(1e-30, "smallest_positive"), name="positive"
            )
            value = self.node(
                "Where",
                "logarithmic",
                self.node("Log", positive, name="logarithm"),
                value,
                name="transformed",
            )
            low = torch.where(logarithmic, low.clamp_min(1e-30).log(), low)
            high = torch.where(logarithmic, high.log(), high)
        offset = self.node("Sub", value, self.constant(low, "scaling_low"), name="above_low")
        scaled = self.node(
            "Mul", offset, self.constant(2 / (high - low), "scaling"), name="twice_share"
        )
        return self.node("Sub", scaled, self.constant(1.0, "one_of_scaling"), name="scaled")

    def normalised_signal(self, mean: Tensor, sd: Tensor) -> str:
        axis = self.integers([1], "image_axis")
        magnitude = self.node("Abs", "signal", name="magnitude")
        largest = self.node("ReduceMax", magnitude, axis, name="largest", keepdims=1)
        largest = self.node(
            "Max", largest, self.constant(1e-30, "smallest_signal"), name="largest_not_zero"
        )
        relative = self.node("Div", "signal", largest, name="relative")
        energy = self.node("ReduceSumSquare", relative, axis, name="energy", keepdims=1)
        energy = self.node("Max", energy, self.constant(1.0, "least_energy"), name="energy_bounded")
        norm = self.node("Sqrt", energy, name="norm")
        unit = self.node("Div", relative, norm, name="unit_signal")
        centred = self.node("Sub", unit, self.constant(mean, "signal_mean"), name="centred")
        return self.node("Div", centred, self.constant(sd, "signal_sd"), name="standard_signal")

    def model(
        self, inputs: list[tuple[str, int]], outputs: list[tuple[str, int]], name: str
    ) -> onnx.ModelProto:
        def values(entries: list[tuple[str, int]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(entry, TensorProto.FLOAT, [VOXELS, size])
                for entry, size in entries
            ]

        graph = helper.make_graph(
            self.nodes, name, values(inputs), values(outputs), initializer=self.constants
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="QuantMAP",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def output_names(parameters: tuple[Range, ...], nuisances: tuple[Range, ...]) -> list[str]:
    """Names of an estimator's outputs: parameters, their standard deviations, nuisances."""
    return (
        [quantity.name for quantity in parameters]
        + [f"{quantity.name}_sd" for quantity in parameters]
        + [quantity.name for quantity in nuisances]
    )


def export_parameter_network(network: ParameterNetwork) -> onnx.ModelProto:
    """The estimator as ONNX.

    Inputs: ``signal`` (voxels, images), then each condition (voxels, 1). Outputs: each
    parameter, each parameter's standard deviation, each nuisance, all (voxels, 1).

    Args:
        network: trained network.

    Returns:
        The checked model.
    """
    specification = network.specification
    graph = _Graph()
    features = graph.normalised_signal(network.signal_mean, network.signal_sd)
    if specification.conditions:
        scaled = graph.scaled(network.scaling)
        features = graph.node("Concat", features, scaled, name="features", axis=1)
    answer = graph.dense(network.layers, features, smooth=False)

    estimated = specification.estimated
    count = len(estimated)
    halves = graph.integers([count, count], "halves")
    graph.nodes.append(
        helper.make_node("Split", [answer, halves], ["location", "spread"], name="split", axis=1)
    )
    mean = graph.node("Sigmoid", "location", name="mean")
    opposite = graph.node(
        "Sigmoid", graph.node("Neg", "location", name="negative"), name="one_minus_mean"
    )
    largest = graph.node(
        "Sqrt", graph.node("Mul", mean, opposite, name="largest_variance"), name="largest_sd"
    )
    sd = graph.node(
        "Mul", largest, graph.node("Sigmoid", "spread", name="share_of_sd"), name="sd_above"
    )
    sd = graph.node("Add", sd, graph.constant(SMALLEST_SD, "smallest_sd"), name="sd")
    span = graph.constant(torch.tensor([q.span for q in estimated]), "span")
    lower = graph.constant(torch.tensor([q.lower for q in estimated]), "lower_bound")
    physical_mean = graph.node(
        "Add", graph.node("Mul", mean, span, name="mean_in_range"), lower, name="physical_mean"
    )
    physical_sd = graph.node("Mul", sd, span, name="physical_sd")
    columns = [quantity.name for quantity in estimated]
    ones = graph.integers([1] * count, "columns")
    for value, names, label in (
        (physical_mean, columns, "means"),
        (physical_sd, [f"{name}_sd" for name in columns], "sds"),
    ):
        graph.nodes.append(
            helper.make_node("Split", [value, ones], names, name=f"split_{label}", axis=1)
        )
    return graph.model(
        [("signal", specification.images)] + [(q.name, 1) for q in specification.conditions],
        [(name, 1) for name in output_names(specification.parameters, specification.nuisances)],
        specification.name,
    )


def export_signal_network(network: SignalNetwork) -> onnx.ModelProto:
    """The simulator's surrogate as ONNX.

    Inputs: each quantity that decides the signal (voxels, 1). Output: ``signal``
    (voxels, images) relative to M0.

    Args:
        network: trained network.

    Returns:
        The checked model.
    """
    specification = network.specification
    graph = _Graph()
    answer = graph.dense(network.layers, graph.scaled(network.scaling), smooth=True)
    scaled = graph.node(
        "Mul", answer, graph.constant(network.signal_sd, "signal_sd"), name="scaled_signal"
    )
    graph.node("Add", scaled, graph.constant(network.signal_mean, "signal_mean"), name="signal")
    return graph.model(
        [(q.name, 1) for q in specification.varied],
        [("signal", specification.images)],
        f"{specification.name}_signal",
    )
