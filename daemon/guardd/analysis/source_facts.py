"""Facts of one source, found in the parsing process (source_worker): whether it parses, what it defines, binds and uses."""

import ast
import builtins
import re
from _blake2 import blake2b  # hashlib would bring OpenSSL along, which takes as long to load as all that is here
from collections.abc import Callable, Iterator, Sequence
from opcode import opmap
from types import CodeType
from typing import Any

from guardd.analysis import bindings, guards, undefined_uses

_REFUSALS = (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError)
_DEFINITION = re.compile(rb"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)
_BODIES = ("body", "orelse", "finalbody")
_CO_OPTIMIZED = 1  # of a code object: a function's, not a class body's


def _operations(*names: str) -> tuple[int, ...]:
    return tuple(opmap[name] for name in names if name in opmap)


_EXTENDED = opmap["EXTENDED_ARG"]
_LOADS_GLOBAL = _operations("LOAD_GLOBAL")
_LOADS = _operations("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_STORES = _operations("STORE_NAME", "DELETE_NAME")
_BINDS = _operations("STORE_NAME")
_STORES_GLOBAL = _operations("STORE_GLOBAL")
_GIVEN = {
    *dir(builtins), "__file__", "__path__", "__builtins__", "__annotations__", "__cached__", "__conditional_annotations__",
    "__module__", "__qualname__", "WindowsError",
}  # fmt: skip


def syntax(source: bytes) -> dict[str, Any]:
    """Whether this interpreter accepts the source, and where it does not."""
    try:
        compile(source, "<source>", "exec", dont_inherit=True, optimize=0)
    except _REFUSALS as error:
        return {"parses": False, "error": _one_line(error), "error_line": getattr(error, "lineno", None) or 0}
    return {"parses": True}


def facts(source: bytes) -> dict[str, Any]:
    """What is known of a content alone; the keys are those of `sources.Facts`."""
    try:
        tree: Any = compile(source, "<source>", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        outline = Outline(tree)
        code = compile(tree, "<source>", "exec", dont_inherit=True, optimize=0)
    except _REFUSALS as error:
        found = [name.decode("ascii", "replace") for name in _DEFINITION.findall(source)]
        line = getattr(error, "lineno", None) or 0
        return {"parses": False, "error": _one_line(error), "error_line": line, "definitions": found}
    shape = blake2b(digest_size=16)
    names: set[str] = set()
    _digest(code, shape.update, names)
    bound = bindings.bound(source, tree, code, _named_by(code, _BINDS), {*outline.made_global, *_made_global(code)})
    expected = guards.skipped_without(source, names)
    unbound = set[str]() if bound.dynamic else _unbound(code)
    doubtful = unbound - set(bindings.texts(code)) if unbound else unbound
    is_sure = not bound.dynamic and "global_enum" not in names and not any(one[3] == ["*"] for one in outline.imports)
    return {
        "parses": True,
        "definitions": outline.definitions,
        "statements": outline.statements,
        "imports": [one if one[4] or not guards.is_expected(one[2], expected) else (*one[:4], True) for one in outline.imports],
        "exports": sorted(bound.names),
        "dynamic": bound.dynamic,
        "listed": None if bound.listed is None else sorted(bound.listed),
        "reopened": bound.reopened,
        "placed": sorted(bound.placed),
        "repathed": bound.repathed,
        "injects": bound.injects,
        "gives": sorted(bindings.given_to_all(tree, names)),
        "unbound": sorted(unbound),
        "undefined": undefined_uses.uses(tree, doubtful, _first_lines(code, doubtful)) if doubtful and is_sure else [],
        "early": undefined_uses.early(tree, _perhaps_early(code) - set(outline.made_global)) if is_sure else [],
        "names": sorted(names),
        "shape": shape.hexdigest(),
        "skeleton": outline.skeleton.hexdigest(),
    }


class Outline:
    """A walk over the statements of a module, not its expressions: ten times faster than ast.walk.

    Leaves the tree with the imports of each run in one order and docstrings in one form, ready to be compiled into a shape.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.definitions: list[str] = []
        self.imports: list[tuple[int, int, str, list[str] | None, bool]] = []
        self.made_global: list[str] = []
        self.statements = 0
        self.skeleton = blake2b(digest_size=16)
        self._visit_body(tree, "body", (), documented=True)

    def _visit_body(self, node: ast.AST, field: str, above: tuple[ast.stmt, ...], *, documented: bool = False) -> None:
        body: list[ast.stmt] = getattr(node, field, [])
        if not body:
            return
        self.skeleton.update(b"{")
        if documented:
            _normalise_docstring(body)
        setattr(node, field, _with_sorted_imports(body))
        for at, statement in enumerate(body):
            if documented and not at and _is_docstring(statement):
                continue
            self._visit(statement, above)
        self.skeleton.update(b"}")

    def _visit(self, node: ast.stmt, above: tuple[ast.stmt, ...]) -> None:
        match node:
            case ast.Import():
                guarded = any(map(guards.lets_fail, above))
                self.imports += [(node.lineno, 0, alias.name, None, guarded) for alias in node.names]
                return
            case ast.ImportFrom():
                guarded = any(map(guards.lets_fail, above))
                found = [alias.name for alias in node.names]
                self.imports.append((node.lineno, node.level, node.module or "", found, guarded))
                return
            case ast.Pass():
                return
            case ast.Global():
                self.made_global += node.names
        self.statements += 1
        self.skeleton.update(type(node).__name__.encode())
        is_definition = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.definitions.append(node.name)
            self.skeleton.update(node.name.encode("utf-8", "surrogatepass"))
        inside = (*above, node)
        for field in _BODIES:
            self._visit_body(node, field, above if field == "finalbody" else inside, documented=is_definition)
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            self._visit_body(part, "body", inside)


def _with_sorted_imports(body: list[ast.stmt]) -> list[ast.stmt]:
    """The same statements, each run of imports split into single names, without doubles, in one order."""
    result: list[ast.stmt] = []
    run: dict[tuple[int, str, str, str], ast.stmt] = {}
    for statement in body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            for alias in statement.names:
                if isinstance(statement, ast.ImportFrom):
                    one: ast.stmt = ast.ImportFrom(statement.module, [alias], statement.level)
                    key = (statement.level, statement.module or "", alias.name, alias.asname or "")
                else:
                    one, key = ast.Import([alias]), (-1, "", alias.name, alias.asname or "")
                run[key] = ast.copy_location(one, statement)
        else:
            result.extend(_in_order(run))
            run = {}
            result.append(statement)
    return [*result, *_in_order(run)]


def _in_order(run: dict[tuple[int, str, str, str], ast.stmt]) -> Iterator[ast.stmt]:
    """`from __future__` must stay first."""
    return (run[key] for key in sorted(run, key=lambda key: (key[1] != "__future__", key)))


def _normalise_docstring(body: list[ast.stmt]) -> None:
    """Formatters indent docstrings anew."""
    if _is_docstring(body[0]):
        constant = body[0].value  # type: ignore[attr-defined]  # _is_docstring has looked
        constant.value = " ".join(constant.value.split())


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _made_global(code: CodeType) -> Iterator[str]:
    """What is bound from within functions, comprehensions and classes; and by `global` at the top."""
    yield from _named_by(code, _STORES_GLOBAL)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _made_global(constant)


def _unbound(code: CodeType) -> set[str]:
    """The names that the code loads as globals and that nothing in it stores; built-in ones aside."""
    loaded, stored = set[str](), set(_GIVEN)
    pending = [code]
    while pending:
        one = pending.pop()
        pending += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
        here = _named_by(one, _STORES)
        if one is code:
            stored |= here
        stored |= _named_by(one, _STORES_GLOBAL)
        loaded |= _named_by(one, _LOADS_GLOBAL, shift=1) | (_named_by(one, _LOADS) - here)
    return loaded - stored


def _first_lines(code: CodeType, names: set[str]) -> set[int]:
    """The lines on which the code objects begin that load one of these names, in themselves or in one inside of them."""
    found = set[int]().union(*(_first_lines(one, names) for one in code.co_consts if isinstance(one, CodeType)))
    return found | {code.co_firstlineno} if found or not names.isdisjoint(code.co_names) else found


def _named_by(code: CodeType, operations: Sequence[int], shift: int = 0) -> set[str]:
    """The names that these operations of a code object work on."""
    return {name for name, _ in _operands(code, operations, shift)}


def _operands(code: CodeType, operations: Sequence[int], shift: int = 0) -> Iterator[tuple[str, int]]:
    """(name, place) of these operations of a code object (dis: name index, LOAD_GLOBAL's shifted by one)."""
    opcodes, arguments = code.co_code[0::2], code.co_code[1::2]
    for operation in operations:
        at = opcodes.find(operation)
        while at >= 0:
            argument, before, scale = arguments[at], at - 1, 8
            while before >= 0 and opcodes[before] == _EXTENDED:
                argument |= arguments[before] << scale
                before, scale = before - 1, scale + 8
            yield code.co_names[argument >> shift], at
            at = opcodes.find(operation, at + 1)


def _perhaps_early(code: CodeType) -> set[str]:
    """The names that a module, or a class in it, loads somewhere before the module stores them; cheap, as most have none."""
    stored: dict[str, int] = {}
    for name, at in _operands(code, _STORES[:1]):
        stored[name] = min(at, stored.get(name, at))
    found = {name for name, at in _operands(code, _LOADS[:1]) if stored.get(name, -1) > at}
    for one in code.co_consts:
        if isinstance(one, CodeType) and not one.co_flags & _CO_OPTIMIZED:
            found |= _named_by(one, _LOADS) & stored.keys()
    return found - _GIVEN


def _digest(code: CodeType, update: Callable[[bytes], None], names: set[str]) -> None:
    """Feed what the code does, without where its lines stand."""
    names.update(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    update(code.co_code)
    update(
        repr((code.co_name, code.co_names, code.co_varnames, code.co_argcount, code.co_kwonlyargcount)).encode("utf-8", "replace")
    )
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _digest(constant, update, names)
        else:
            update(_stable(constant).encode("utf-8", "replace"))


def _stable(constant: object) -> str:
    """The order of a frozenset differs from process to process."""
    if isinstance(constant, frozenset):
        return f"frozenset({sorted(map(_stable, constant))})"
    return f"({[_stable(one) for one in constant]})" if isinstance(constant, tuple) else repr(constant)


def _one_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]
