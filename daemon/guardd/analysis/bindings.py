"""What a module binds: the names that others can import from it, and whether there may be more. Run in the parsing process."""

import ast
import re
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

_INJECTORS = ("apipkg", "deferredimport")
"""Modules whose functions bind names in the module that calls them."""

_READS = {"items", "keys", "values", "get", "copy"}
_READS_WHOLE = {
    "eval",
    "dict",
    "list",
    "set",
    "frozenset",
    "tuple",
    "sorted",
    "len",
    "deepcopy",
    "get_type_hints",
    "__import__",
    "importName",
}
_READS_PATH = {"iter_modules", "walk_packages", "list", "len", "print", "next", "iter", "join", "dirname", "Path"}
_PLACERS = {"modules", "meta_path", "path_hooks"}
_HOOKS = {"extend_path", "declare_namespace"}
_ASKS_FOR_ITSELF = re.compile(rb"modules\s*\[\s*__name__|(?:import_module|__import__|modules\.\w+)\(\s*__name__")
_PUTS_MODULES = re.compile(
    rb"(?:meta_path|path_hooks)(?:\.(?:insert|append|extend)\(|\[[^\]\n]*\]\s*=(?!=)|\s*\+?=(?!=))|"
    rb"modules\s*\[(?!\s*[\"'][\w.]+[\"']\s*\])[^\]\n]*\]+\s*=(?!=)|sys\.modules\.(?:update|setdefault|__setitem__)\("
)
_PLACES_MODULE = re.compile(rb"modules\s*\[\s*[\"']([\w.]+)[\"']\s*\]\s*=(?!=)", re.ASCII)
_CHANGES_SYS_PATH = re.compile(rb"sys\.path(?:\.(?:insert|append|extend)\(|\[[^\]\n]*\]\s*=|\s*\+?=(?!=))|addsitedir\(")

_BUILT_IN = {"builtins", "__builtin__", "__builtins__"}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_CONTAINERS = (ast.Dict, ast.Set, ast.List, ast.Tuple)


class Bound(NamedTuple):
    """The names that a module can bind (`dynamic`: and others), stars aside.

    `listed` is what its `__all__` can hold, None where there is none or it cannot be told; `reopened`: it decides for itself
    which modules lie below it (`__path__`, an import hook, `sys.modules`; `placed`: those that it
    names); `repathed`: it changes where imports start from;
    `injects`: its functions may bind names in the module that calls them.
    """

    names: frozenset[str]
    dynamic: bool
    listed: frozenset[str] | None
    reopened: bool
    placed: frozenset[str]
    repathed: bool
    injects: bool


def bound(source: bytes, tree: ast.Module, code: CodeType, stored: set[str], made_global: set[str]) -> Bound:
    """What the module of this tree binds; `stored` by its top level, `made_global` from within functions."""
    used = set(_names_of(code))
    names = (stored - _gone(tree)) | made_global
    lazy = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"]
    asks_for_itself = bool({"modules", "import_module", "__import__"} & used) and _ASKS_FOR_ITSELF.search(source) is not None
    dynamic = (
        asks_for_itself
        or _is_dynamic(tree, used)
        or ("__getattr__" in names and not (lazy and all(_is_closed(one, tree) for one in lazy)))
    )
    if {"_convert_", "global_enum"} & used:
        enumerated, from_elsewhere = _enumerated(tree)
        names |= enumerated
        dynamic = dynamic or from_elsewhere
    if lazy:
        names |= {word for word in texts(code) if word.isidentifier()}
    names |= {one.target.id for one in tree.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
    reopened = asks_for_itself or bool(_HOOKS & used) or ("__path__" in used and _moves_path(tree))
    reopened = reopened or (bool(_PLACERS & used) and _PUTS_MODULES.search(source) is not None)
    placed = frozenset(name.decode() for name in _PLACES_MODULE.findall(source)) if "modules" in used else frozenset[str]()
    repathed = bool({"path", "addsitedir"} & used) and _CHANGES_SYS_PATH.search(source) is not None
    injects = "f_globals" in used and _is_written(ast.walk(tree), {"f_globals"})
    return Bound(
        frozenset(names), dynamic, _listed(tree, code) if "__all__" in used else None, reopened, placed, repathed, injects
    )


def given_to_all(tree: ast.Module, used: set[str]) -> set[str]:
    """The names that code puts among the built-in ones (`builtins.x = ...`), where every module finds them."""
    if not _BUILT_IN & used:
        return set()
    nodes = list(ast.walk(tree))
    aliases = [one for node in nodes if isinstance(node, ast.Import) for one in node.names if one.name in _BUILT_IN]
    modules = _BUILT_IN | {one.asname for one in aliases if one.asname}
    found = set[str]()
    for node in nodes:
        match node:
            case (
                ast.Attribute(value=ast.Name(id=module), attr=name, ctx=ast.Store())
                | ast.Call(func=ast.Name(id="setattr"), args=[ast.Name(id=module), ast.Constant(value=str(name)), _])
                | ast.Subscript(
                    value=ast.Name(id=module) | ast.Attribute(value=ast.Name(id=module), attr="__dict__"),
                    slice=ast.Constant(value=str(name)),
                    ctx=ast.Store(),
                )
            ) if module in modules:
                found.add(name)
    return found


def _gone(tree: ast.Module) -> set[str]:
    """Names that are certainly unbound at the end: deleted after their last binding, or the exception of a handler.

    A module that is imported between the two may import the name while it is there.
    """
    deleted = {
        target.id: at
        for at, statement in enumerate(tree.body)
        if isinstance(statement, ast.Delete)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    caught = {node.name for one in tree.body for node in _scope(one) if isinstance(node, ast.ExceptHandler) and node.name}
    if not deleted and not caught:
        return set()
    bindings = [set(_bound_by(statement)) for statement in tree.body]
    imports = [at for at, statement in enumerate(tree.body) if any(map(_is_import, _scope(statement)))]
    found = caught - set().union(*bindings)
    for name, at in deleted.items():
        places = [place for place, names in enumerate(bindings) if name in names]
        if places and places[-1] < at and not any(places[0] < place < at for place in imports):
            found.add(name)
    return found


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _scope(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is carried out with it: not the bodies of functions, nor of classes."""
    pending = [node]
    while pending:
        one = pending.pop()
        yield one
        if not isinstance(one, _SCOPES):
            pending.extend(ast.iter_child_nodes(one))


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    for node in _scope(statement):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.alias(name=name, asname=asname):
                yield asname or name.partition(".")[0]
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name


def _is_dynamic(tree: ast.Module, used: set[str]) -> bool:
    if any(injector in name for name in used for injector in _INJECTORS):
        return True
    if "exec" in used and any(map(_executes_here, _top_level(tree))):
        return True
    if "globals" in used and _is_written(ast.walk(tree), {"globals"}):
        return True
    return bool({"locals", "vars"} & used) and _is_written(_top_level(tree), {"locals", "vars"})


def _top_level(tree: ast.Module) -> Iterator[ast.AST]:
    return (node for statement in tree.body for node in _scope(statement))


def _enumerated(tree: ast.Module) -> tuple[set[str], bool]:
    """The names that `enum` binds in a module for it (`global_enum`, `_convert_`), and whether it takes others from elsewhere."""
    found: set[str] = set()
    from_elsewhere = False
    for node in _top_level(tree):
        match node:
            case ast.ClassDef() if any(_last_name(one) == "global_enum" for one in node.decorator_list):
                found.update(name for statement in node.body for name in _bound_by(statement))
            case ast.Call(func=ast.Attribute(attr="_convert_"), args=[ast.Constant(value=str(name)), _, _], keywords=[]):
                found.add(name)
            case ast.Call(func=func) if _last_name(func) in {"_convert_", "global_enum"}:
                from_elsewhere = True
    return found, from_elsewhere


def _executes_here(node: ast.AST) -> bool:
    return _is_call(node, {"exec"}) and len(getattr(node, "args", ())) == 1


def _is_call(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _is_written(nodes: Iterator[ast.AST], names: set[str]) -> bool:
    """Whether `globals()` and the like, or an attribute of this name, is used for anything but to be read."""
    calls: list[ast.AST] = []
    harmless: set[int] = set()
    for node in nodes:
        if (_is_call(node, names) and not getattr(node, "args", ())) or (isinstance(node, ast.Attribute) and node.attr in names):
            calls.append(node)
        match node:
            case ast.Attribute(value=value, attr=attr) if attr in _READS:
                harmless.add(id(value))
            case ast.Subscript(value=value, ctx=ast.Load()):
                harmless.add(id(value))
            case ast.For(iter=value) | ast.comprehension(iter=value):
                harmless.add(id(value))
            case ast.Compare():
                harmless |= {id(one) for one in node.comparators}
            case ast.Dict():
                harmless |= {id(value) for key, value in zip(node.keys, node.values, strict=True) if key is None}
            case ast.Call() if _last_name(node.func) in _READS_WHOLE:
                harmless |= {id(one) for one in (*node.args, *(keyword.value for keyword in node.keywords))}
    return any(id(call) not in harmless for call in calls)


def _moves_path(tree: ast.Module) -> bool:
    """Whether a package does more with its `__path__` than to read it."""
    harmless: set[int] = set()
    suspect: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="__path__"):
                suspect.append(node)
            case ast.Subscript(value=value, ctx=ast.Load()) | ast.For(iter=value) | ast.comprehension(iter=value):
                harmless.add(id(value))
            case ast.Call() if _last_name(node.func) in _READS_PATH:
                harmless |= {id(one) for one in (*node.args, *(keyword.value for keyword in node.keywords))}
    return any(id(node) not in harmless for node in suspect)


def _is_closed(lazy: ast.FunctionDef, tree: ast.Module) -> bool:
    """Whether a module's `__getattr__` (PEP 562) knows only names that stand in the module as text.

    It compares the name that it is asked for with texts, or with containers that the module spells out, tells of it in what it
    raises or warns of, does nothing else with it, and ends by raising.
    """
    if not isinstance(lazy.body[-1], ast.Raise) or any(isinstance(statement, ast.Return) for statement in lazy.body):
        return False
    if len(lazy.args.args) != 1:
        return False
    asked = lazy.args.args[0].arg
    plain = {
        target.id
        for one in tree.body
        if isinstance(one, ast.Assign) and isinstance(one.value, _CONTAINERS)
        for target in one.targets
        if isinstance(target, ast.Name)
    }
    understood: set[int] = set()
    for node in ast.walk(lazy):
        match node:
            case ast.Raise():
                understood |= {id(one) for one in ast.walk(node)}
            case ast.Call() if _last_name(node.func) == "warn":
                understood |= {id(one) for one in ast.walk(node)}
            case ast.Compare() if all(_is_spelt_out(one, plain | {asked}) for one in (node.left, *node.comparators)):
                understood |= {id(one) for one in (node.left, *node.comparators)}
            case ast.Subscript(value=ast.Name(id=container)) if container in plain:
                understood.add(id(node.slice))
    return all(id(node) in understood for node in ast.walk(lazy) if isinstance(node, ast.Name) and node.id == asked)


def _is_spelt_out(node: ast.expr, names: set[str]) -> bool:
    """Whether a value stands in the module as text, or is one of these names."""
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return all(_is_spelt_out(one, names) for one in node.elts)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in names)


def _listed(tree: ast.Module, code: CodeType) -> frozenset[str] | None:
    """The names that `__all__` can hold, if it is made of literals alone, whatever the conditions."""
    if any("__all__" in _names_of(one) for one in code.co_consts if isinstance(one, CodeType)):
        return None
    found: set[str] = set()
    seen = understood = 0
    for statement in tree.body:
        for node in _scope(statement):
            seen += isinstance(node, ast.Name) and node.id == "__all__"
            value: ast.expr | None = None
            match node:
                case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.AnnAssign(target=ast.Name(id="__all__")):
                    value = node.value
                case ast.AugAssign(target=ast.Name(id="__all__"), op=ast.Add()):
                    value = node.value
                case ast.Call(func=ast.Attribute(value=ast.Name(id="__all__"), attr="extend"), args=[one]):
                    value = one
                case ast.Call(func=ast.Attribute(value=ast.Name(id="__all__"), attr="append" | "remove"), args=[one]):
                    value = ast.List([one])
            words = _words(value)
            if words is not None:
                understood += 1
                found |= words
    return frozenset(found) if found and understood == seen else None


def _words(value: ast.expr | None) -> set[str] | None:
    match value:
        case ast.List() | ast.Tuple() | ast.Set():
            words = [one.value for one in value.elts if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            return set(words) if len(words) == len(value.elts) else None
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            one, other = _words(left), _words(right)
            return one | other if one is not None and other is not None else None
    return None


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _names_of(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of(constant)


def texts(code: CodeType) -> Iterator[str]:
    """The strings among the constants of a code object, and of those in it."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from texts(constant)
        else:
            members = constant if isinstance(constant, (tuple, frozenset)) else (constant,)
            yield from (one for one in members if isinstance(one, str))
