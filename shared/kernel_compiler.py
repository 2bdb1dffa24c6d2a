"""`python -m roughfed.kernel_compiler FD MODULE NAME TYPES`: one kernel as an object file, into an open file.

The only place that imports numba, and a process of its own: see `kernel`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types

from roughfed.kernel import SYMBOL, Kernel, c_types, processor

SCALARS: dict[str, Any] = {"bool": types.boolean, "int": types.int64, "float32": types.float32}


def main() -> None:
    """Compile what the arguments say; who reads the output keeps it."""
    fd, module, name, wanted = sys.argv[1:]
    code = object_file(importlib.import_module(module), name, json.loads(wanted))
    with os.fdopen(int(fd), "wb") as out:
        out.write(code)


def object_file(module: ModuleType, name: str, wanted: list[str]) -> bytes:
    """The machine code of a kernel for arguments of these types, with the kernels of its module that it calls.

    All of its functions but the kernel itself are made internal, so that the file asks for nothing of numba's.
    """
    njit: Any = numba.njit  # numba comes without types
    compiled: dict[str, Any] = {
        each: njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(one.function)
        for each, one in vars(module).items()
        if isinstance(one, Kernel) and one.function.__module__ == module.__name__
    }
    vars(module).update(compiled)  # a kernel's source names the others, which numba looks up when it compiles
    dispatcher = compiled[name]
    signature = tuple(map(type_of, wanted))
    dispatcher.compile(signature)
    unit = llvm.parse_assembly(dispatcher.inspect_llvm(signature))
    entry = dispatcher.overloads[signature].fndesc.llvm_func_name
    arguments = 2 + sum(len(c_types(each)) for each in wanted)  # what it returns, and its error, come first
    for function in unit.functions:
        if function.name == entry:
            if len(list(function.arguments)) != arguments:
                raise SystemExit(f"numba {numba.__version__} calls its functions in another way than roughfed does")
            function.name = SYMBOL
        elif not function.is_declaration:
            function.linkage = "internal"
    cpu, features = processor()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu,
        features=features,
        opt=3,
        reloc="default",
        codemodel="jitdefault",
        jit=True,
    )
    return bytes(machine.emit_object(unit))


def type_of(name: str) -> Any:
    """Numba's type for `kernel`'s name of one."""
    if name in SCALARS:
        return SCALARS[name]
    dtype, _, ndim = name.rpartition(":")
    return types.Array(numba.from_dtype(np.dtype(dtype)), int(ndim), "C")


if __name__ == "__main__":
    main()
