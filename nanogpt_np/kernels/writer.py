"""Writes the instructions of one function: addresses, vectors, loops, in LLVM's language.

Enter: an `@intrinsic`'s arguments, arrays and places in them. Leave: instructions in the function that is being
compiled. Arrays hold float32, or int8 that becomes float32 as it is loaded. Next: kernels/vectors.py.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .compile import cpu_has


def _vector_and_tile():
    """How many float32 a register holds, and how many rows and registers of a product fit the register file."""
    if cpu_has("avx512f"):
        return 16, 8, 2  # 16 sums, 2 vectors of b, 1 of a, of 32 registers
    if cpu_has("avx2"):
        return 8, 6, 2  # 12 + 2 + 1 of 16; a third vector would not divide widths of 64 and 256
    return 4, 8, 2  # NEON: 16 + 2 + 1 of 32


VECTOR, TILE_ROWS, TILE_VECTORS = _vector_and_tile()
TILE_COLUMNS = VECTOR * TILE_VECTORS

FLOAT, BYTE, INT32, INT64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)


def integer(n):
    """A constant for addresses and counters."""
    return ir.Constant(INT64, n)


class Writer:
    """Writes the instructions of one function; `args` are its arrays and numbers as Numba hands them over."""

    def __init__(self, context, builder, signature, args):
        self.context, self.builder, self.types, self.args = context, builder, signature.args, args

    def array(self, n):
        """Argument number n, an array."""
        return self.context.make_array(self.types[n])(self.context, self.builder, self.args[n])

    def address(self, n, *at, of=None):
        """Where element `at` of array number n lies: the address of a float32, or of a byte in an array of int8."""
        array, builder = self.array(n), self.builder
        strides = [builder.extract_value(array.strides, axis) for axis in range(len(at))]
        offset = integer(0)
        for i, stride in zip(at, strides, strict=True):
            offset = builder.add(offset, builder.mul(i, stride))
        element = of or (BYTE if self.types[n].dtype == types.int8 else FLOAT)
        return self.further(builder.bitcast(array.data, element.as_pointer()), offset)

    def further(self, address, n_bytes):
        """An address so many bytes behind another."""
        base = self.builder.bitcast(address, BYTE.as_pointer())
        return self.builder.bitcast(self.builder.gep(base, [n_bytes]), address.type)

    def rows(self, n, count, *at, of=None):
        """The addresses of element `at` and of those in the `count` - 1 rows below it."""
        stride = self.builder.extract_value(self.array(n).strides, 0)
        first = self.address(n, *at, of=of)
        return [self.further(first, self.builder.mul(stride, integer(row))) for row in range(count)]

    def load(self, address, at=0, width=VECTOR):
        """A vector of float32, `at` elements behind an address; of the same numbers where there are bytes."""
        at = at if isinstance(at, ir.Value) else integer(at)
        element, address = address.type.pointee, self.builder.gep(address, [at])
        value = self.builder.load(self.builder.bitcast(address, ir.VectorType(element, width).as_pointer()))
        value.align = 1 if element == BYTE else 4
        return value if element == FLOAT else self.builder.sitofp(value, ir.VectorType(FLOAT, width))

    def store(self, value, address, at=0):
        """Put a vector `at` elements behind an address."""
        at = at if isinstance(at, ir.Value) else integer(at)
        address = self.builder.gep(address, [at])
        self.builder.store(value, self.builder.bitcast(address, value.type.as_pointer())).align = 4

    def broadcast(self, address, at=0, width=VECTOR):
        """The number at an address, `at` elements behind it, in all places of a vector."""
        at = at if isinstance(at, ir.Value) else integer(at)
        value = self.builder.load(self.builder.gep(address, [at]))
        value.align = 1
        return self.everywhere(value, width)

    def everywhere(self, value, width):
        """A number in all places of a vector."""
        vector = ir.VectorType(value.type, width)
        single = self.builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(INT32, 0))
        places = ir.Constant(ir.VectorType(INT32, width), [0] * width)
        return self.builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), places)

    def fma(self, a, b, c):
        """a * b + c, rounded once."""
        return self.call(f"llvm.fma.v{a.type.count}f32", a.type, a, b, c)

    def call(self, name, kind, *args):
        """One of LLVM's own functions, or an instruction that it knows by name -> a value of that kind."""
        function = ir.FunctionType(kind, [arg.type for arg in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function, name), args)

    def constant(self, value):
        """The address of a constant, an array of numbers that the machine code carries with it."""
        return cgutils.global_constant(self.builder, "constant", value)

    def total(self, vector):
        """The sum of a vector's elements."""
        return self.fold(vector, self.builder.fadd)

    def fold(self, vector, join):
        """One number out of a vector's: join(halves, halves), again and again, the same order everywhere."""
        width = vector.type.count
        while width > 1:
            width //= 2
            low, high = (
                self.builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(INT32, width), list(places)))
                for places in (range(width), range(width, 2 * width))
            )
            vector = join(low, high)
        return self.builder.extract_element(vector, ir.Constant(INT32, 0))

    def prefetch(self, address, at):
        """Ask for a line of memory that will be read soon."""
        address = self.builder.bitcast(self.builder.gep(address, [at]), BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), INT32, INT32, INT32])
        function = self.builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        to_read, to_level_2, data = (ir.Constant(INT32, n) for n in (0, 2, 1))
        self.builder.call(function, [address, to_read, to_level_2, data])

    def loop(self, n, step, start, body):
        """for i in range(0, n, step): values = body(i, values), from `start`; n is at least 1 -> the last values."""
        builder = self.builder
        before = builder.block
        inside, behind = builder.append_basic_block("loop"), builder.append_basic_block("behind")
        builder.branch(inside)
        builder.position_at_end(inside)
        i = builder.phi(INT64)
        i.add_incoming(integer(0), before)
        values = [builder.phi(value.type) for value in start]
        new = body(i, values)
        following = builder.add(i, integer(step))
        i.add_incoming(following, builder.block)
        for phi, first, value in zip(values, start, new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, n), inside, behind)
        builder.position_at_end(behind)
        return new


def zeros(count):
    return [ir.Constant(ir.VectorType(FLOAT, VECTOR), [0.0] * VECTOR)] * count


def compiled(signature, write):
    """What an @intrinsic returns: its signature, and the function that writes its instructions."""

    def codegen(context, builder, signature, args):
        write(Writer(context, builder, signature, args), *args)
        return context.get_dummy_value()

    return signature, codegen
