"""How compiled code shares its work among the cores.

Enter: a function of a part's number and of what every part is told. Leave: nothing; the parts have done their work.
Numba's own way to say it, `prange`, makes a function of each such loop, three times over, with all that it calls:
that was half of what compiling took. This one asks the same pool of threads. Next: kernels/calls.py.
"""

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

BYTES, INT64 = ir.IntType(8).as_pointer(), ir.IntType(64)
ZERO, ONE = ir.Constant(INT64, 0), ir.Constant(INT64, 1)
BODY = ir.FunctionType(ir.VoidType(), [BYTES.as_pointer(), INT64.as_pointer(), INT64.as_pointer(), BYTES])
POOL = ir.FunctionType(ir.VoidType(), [BYTES] * 5 + [INT64] * 3)
FAILED = 2  # what the parts are told begins with: how many they are, in how many chunks, did one fail


@intrinsic
def spread(typingctx, n, function, args):
    """function(0, *args) to function(n - 1, *args), on all cores, each of which takes neighbours; one alone stays here.

    MemoryError where a part found no memory for its arrays; nothing else can fail in there.
    """
    kinds = tuple(types.unliteral(kind) for kind in args.types)
    resolved = function.get_call_type(typingctx, (types.intp, *kinds), {})

    def codegen(context, builder, signature, values):
        n, _, told = values
        told = lent(context, builder, told, args.types, resolved.args[1:])
        compiled = function.dispatcher.get_compile_result(resolved)
        context.active_code_library.add_linking_library(compiled.library)
        count = cgutils.get_or_insert_function(builder.module, ir.FunctionType(INT64, []), "get_num_threads")
        n_chunks = builder.select(builder.icmp_signed(">", n, ONE), builder.call(count, []), ONE)
        data = _stored(builder, [n, n_chunks, ZERO, *told])
        _run(builder, _body(context, builder.module, compiled, data.type), n_chunks, data)
        failed = builder.load(cgutils.gep_inbounds(builder, data, 0, FAILED))
        with cgutils.if_unlikely(builder, cgutils.is_true(builder, failed)):
            context.call_conv.return_user_exc(builder, MemoryError, ("kernels: no memory for a part's arrays",))
        return context.get_dummy_value()

    return types.void(types.intp, function, args), codegen


def lent(context, builder, values, kinds, wanted):
    """A tuple's values as other functions want them, arrays without their count of references.

    Each slice of an array would count its own, and cores would fight for where the count stands: twice the time.
    """
    values = zip(cgutils.unpack_tuple(builder, values, len(wanted)), kinds, wanted, strict=True)
    cast = [context.cast(builder, *each) for each in values]
    for at, kind in enumerate(wanted):
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, cast[at])
            owners = array.meminfo, array.parent
            array.meminfo, array.parent = (cgutils.get_null_value(owner.type) for owner in owners)
            cast[at] = array._getvalue()
    return cast


def _stored(builder, values):
    """Values side by side in memory -> where."""
    data = cgutils.alloca_once(builder, ir.LiteralStructType([value.type for value in values]))
    for at, value in enumerate(values):
        builder.store(value, cgutils.gep_inbounds(builder, data, 0, at))
    return data


def _body(context, module, compiled, told):
    """What the pool calls: some chunks of the parts. Which is the first, an address says; how many, a size."""
    body = ir.Function(module, BODY, module.get_unique_name("parts"))
    body.linkage = "internal"
    builder = ir.IRBuilder(body.append_basic_block())
    first = builder.ptrtoint(builder.load(body.args[0]), INT64)
    end = builder.add(first, builder.load(body.args[1]))
    data = builder.bitcast(body.args[3], told)
    n, n_chunks, _, *args = (
        builder.load(cgutils.gep_inbounds(builder, data, 0, at)) for at in range(len(told.pointee.elements))
    )
    start, stop = (builder.sdiv(builder.mul(chunk, n), n_chunks) for chunk in (first, end))
    function, kinds = context.declare_function(module, compiled.fndesc), compiled.signature.args
    with cgutils.for_range_slice(builder, start, stop, ONE) as (part, _):
        status, _ = context.call_conv.call_function(builder, function, types.none, kinds, [part, *args])
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(ONE, cgutils.gep_inbounds(builder, data, 0, FAILED))
    builder.ret_void()
    return body


def _run(builder, body, n_chunks, data):
    """Ask Numba's pool, whichever it is: it walks along arrays, of which here is one, at address 0."""
    array, size, step = (cgutils.alloca_once(builder, kind) for kind in (BYTES, INT64, INT64))
    for value, place in ((ir.Constant(BYTES, None), array), (n_chunks, size), (ONE, step)):
        builder.store(value, place)
    addresses = [builder.bitcast(address, BYTES) for address in (body, array, size, step, data)]
    with builder.if_else(builder.icmp_signed(">", n_chunks, ONE)) as (several, alone):
        with several:
            pool = cgutils.get_or_insert_function(builder.module, POOL, "numba_parallel_for")
            builder.call(pool, [*addresses, ZERO, ONE, n_chunks])
        with alone:
            builder.call(body, [array, size, step, addresses[-1]])


if config.DISABLE_JIT:

    def spread(n, function, args):
        for part in range(n):
            function(part, *args)
