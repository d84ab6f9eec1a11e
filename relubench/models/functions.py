"""torch's functions by what they do to numbers: one spelling of each, as `calls.spelt` has it."""

# Activations that have a function of their own in torch.
NAMED = {"relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu"}
NAMED |= {"mish", "hardswish", "hardsigmoid", "hardtanh", "softplus", "softsign", "tanh", "sigmoid"}
NAMED |= {"logsigmoid", "tanhshrink", "softshrink", "hardshrink", "threshold", "swish"}
# Elementwise and bent: with one of these a formula is an activation.
BENT = {"clamp", "clamp_min", "clamp_max", "maximum", "minimum", "max", "min", "fmax", "fmin"}
BENT |= {"where", "masked_fill", "gt", "lt", "ge", "le", "sign", "sgn", "heaviside", "copysign"}
BENT |= {
    "setitem",
    "index_put",
    "erf",
    "erfc",
    "sin",
    "cos",
    "sinc",
    "atan",
    "sinh",
    "cosh",
    "asinh",
    "logaddexp",
    "shown",
}
# Elementwise and curved, but found in statistics and normalisations too.
CURVED = {"pow", "square", "abs", "sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log1p"}
CURVED |= {"reciprocal", "rdiv", "float_power", "floor", "round", "ceil", "trunc", "frac"}
STRAIGHT = {"add", "sub", "rsub", "neg", "mul", "div", "positive", "clone", "contiguous", "detach"}
STRAIGHT |= {"to", "float", "double", "half", "bfloat16", "type", "type_as", "alias", "view_as"}
STRAIGHT |= {"real", "data", "requires_grad", "nan_to_num", "addcmul", "eq", "ne", "logical_not"}
STRAIGHT |= {"lerp", "logical_and", "logical_or", "and", "or", "invert", "bool", "copy"}
ELEMENTWISE = NAMED | BENT | CURVED | STRAIGHT
# What only moves numbers about, or weighs all alike: a gate goes on through it.
MOVING = {"view", "reshape", "flatten", "unflatten", "permute", "transpose", "movedim", "squeeze"}
MOVING |= {"unsqueeze", "expand", "expand_as", "repeat", "getitem", "T", "mT", "chunk", "split"}
MOVING |= {"broadcast_to", "repeat_interleave", "interpolate", "upsample", "swapaxes", "narrow"}
MOVING |= {"moveaxis", "unbind", "select", "stack", "dropout", "dropout1d", "dropout2d", "tile"}
MOVING |= {"t", "H", "roll", "flip", "swapdims", "split_with_sizes", "rearrange"}
JOINING = {"cat", "concat", "concatenate", "hstack", "vstack", "dstack", "column_stack"}
# What takes numbers together, whatever its shapes: not worth trying.
MIXING = {"linear", "matmul", "mm", "bmm", "einsum", "batch_norm", "layer_norm", "group_norm"}
MIXING |= {"instance_norm", "rms_norm", "local_response_norm", "softmax", "log_softmax", "dropped"}
MIXING |= {"normalize", "cumsum", "multi_head_attention_forward", "scaled_dot_product_attention"}
MIXING |= {
    "cat",
    "stack",
    "concat",
    "avg_pool2d",
    "max_pool2d",
    "adaptive_avg_pool2d",
    "embedding",
    "zeros_like",
}
WEIGHING = {"mul", "matmul", "bmm", "einsum", "scaled_dot_product_attention", "baddbmm", "addcmul"}
WEIGHING |= {"lerp", "where"}
GATHERING = {"sum", "mean", "cat", "concat", "stack", "clamp", "div", "add", "sub", "amax"}
# What torch makes inside of one call, where nobody can look between its steps.
INSIDE = "inside of one call"
STAYING = {"glu": f"a GLU's gate, {INSIDE}"}
STAYING |= dict.fromkeys(("gru", "gru_cell"), f"a GRU's gates, {INSIDE}")
STAYING |= dict.fromkeys(("lstm", "lstm_cell"), f"an LSTM's gates, {INSIDE}")
STAYING |= dict.fromkeys(("rnn_tanh", "rnn_tanh_cell"), f"an RNN's tanh, {INSIDE}")
STAYING |= dict.fromkeys(("rnn_relu", "rnn_relu_cell"), f"an RNN's relu, {INSIDE}")

NORMS = {"batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"}
