"""Graph: what a model computes, rewritten and laid out before anything runs.

In: builders of `model`. Out: `Graph`, `optimize`, `make_plan`, dumps.
Knows nothing of: Numba, kernels, checkpoints, audio.
"""

from whisperlite.graph.arena import Graph, Node, NodeId, verify
from whisperlite.graph.dump import plan_to_text, to_dot, to_json, to_text
from whisperlite.graph.facts import DTYPES, FLOAT32, INT32, WEIGHT_DTYPES, Fact, item_bytes
from whisperlite.graph.ops import OPS, PANEL
from whisperlite.graph.passes import optimize
from whisperlite.graph.plan import Buffer, Plan, make_plan
from whisperlite.graph.sizes import Expr, Size, ceil_div, evaluate, symbol

__all__ = [
    "DTYPES",
    "FLOAT32",
    "INT32",
    "OPS",
    "PANEL",
    "WEIGHT_DTYPES",
    "Buffer",
    "Expr",
    "Fact",
    "Graph",
    "Node",
    "NodeId",
    "Plan",
    "Size",
    "ceil_div",
    "evaluate",
    "item_bytes",
    "make_plan",
    "optimize",
    "plan_to_text",
    "symbol",
    "to_dot",
    "to_json",
    "to_text",
    "verify",
]
