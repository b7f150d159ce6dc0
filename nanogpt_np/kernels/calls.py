"""Functions that several kernels call and that are compiled once, not once more inside each of them.

Enter: a Python function and the types it is for. Leave: what compiled code calls by that name; LLVM finds its address
by a symbol, as it finds C's functions. Each call costs some nanoseconds: it is for what takes longer.
Next: kernels/math.py.
"""

import llvmlite.binding as llvm
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile import UNWRAPPED, Kernel, shared_functions
from .cores import lent


class Shared(Kernel):
    """A compiled function without a Python caller; `symbol` is what other compiled code knows it by."""

    wrappers = UNWRAPPED

    def __init__(self, function, signature):
        super().__init__(function, signature, parallel=False, early=True)
        self.symbol = f"{function.__module__}.{function.__name__}"

    def __call__(self, *args):
        raise TypeError(f"{self.symbol}: expected a call from compiled code, got one from Python; call a kernel")

    def announce(self):
        """Give its address to LLVM, which asks for it when a kernel is loaded that calls it."""
        compiled = self.dispatcher.overloads[self.signature.args]
        llvm.add_symbol(self.symbol, compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def shared(signature):
    """Turn a function into one that kernels share: @shared(void(read(float32[:, :]), float32[:, :]))."""

    def make(function):
        if config.DISABLE_JIT:
            return function
        one = Shared(function, signature)
        call = _call_of(one, signature)
        shared_functions[id(call)] = one
        return call

    return make


def _call_of(one, signature):
    kinds = signature.args

    @intrinsic
    def call(typingctx, *args):
        def codegen(context, builder, with_tuple, values):
            given = lent(context, builder, values[0], args, kinds)
            kind = context.call_conv.get_function_type(types.none, kinds)
            function = cgutils.get_or_insert_function(builder.module, kind, one.symbol)
            status, _ = context.call_conv.call_function(builder, function, types.none, kinds, given)
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.void(types.StarArgTuple(args)), codegen

    return call
