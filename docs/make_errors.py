"""Write docs/errors.md: every message that a user can meet, collected from the code itself.

    python docs/make_errors.py

The code is read and not run. A message is followed from where an error is made back to where its
words stand: through lists, variables, and the functions that say what is wrong.
"""

from __future__ import annotations

import ast
import copy
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]

SITUATIONS: dict[str, str] = {
    "config_yaml": "The YAML and `--set`",
    "config": "Keys and values",
    "config_base": "Keys and values",
    "config_errors": "Keys and values",
    "data.config": "Streams, as the config describes them",
    "encoders": "Encoders and heads",
    "heads": "Encoders and heads",
    "model": "Encoders and heads",
    "interactions": "Interactions",
    "kinds": "Kinds of your own",
    "tracking": "Tracking",
    "training.processes": "Several processes",
    "training.team": "Several processes",
    "training.state": "Going on with a training",
    "training": "While training",
    "experiment": "While training",
    "tuning": "Searching for settings",
    "data.reading.zones": "Time zones",
    "data.times": "Time zones",
    "data.reading.stamps": "Times",
    "data.reading": "Files, rows and cells",
    "data.cache": "The cache",
    "data.calendar_features": "The calendar",
    "data.text": "Prose",
    "data.dataset": "Splits and windows",
    "data.splits": "Splits and windows",
    "data.windows": "Splits and windows",
    "data.scaling": "Splits and windows",
    "data": "Streams and their clocks",
    "checkpoint": "Opening a checkpoint",
    "checkpoint_file": "Opening a checkpoint",
    "checkpoint_versions": "Opening a checkpoint",
    "linear": "Opening a checkpoint",
    "forecasting": "Forecasting",
    "forecast_origins": "Forecasting",
    "forecast_table": "Forecasting",
    "serving": "The model in MLflow",
    "run_folders": "`mmts runs`",
    "report": "Pictures",
    "evaluation": "Evaluating and explaining",
    "explanation": "Evaluating and explaining",
    "backtest": "Backtests",
    "calibration": "Calibrating",
    "inspection": "`mmts init`",
    "plots": "Pictures",
    "files": "Files to write",
    "folder_lock": "Files to write",
    "pipelines.backtest": "Backtests",
    "pipelines.evaluate": "Files to write",
    "pipelines.forecast": "Forecasting",
    "pipelines.init": "`mmts init`",
    "pipelines.addresses": "The model in MLflow",
    "pipelines.register": "The model in MLflow",
    "pipelines.runs": "`mmts runs`",
    "pipelines.ui": "`mmts ui`",
    "pipelines": "Commands",
}
"""When a message is met, by the module that says it; the longest name that fits counts."""

OTHERS: dict[str, str] = {
    # What these refuse as a ValueError, the checkpoint that holds it is refused for.
    "checkpoint": "CheckpointError",
    "calibration.conformal": "CheckpointError",
    "data.text.features": "CheckpointError",
    # A cache that is damaged is made anew, and a duration is refused in words of the config.
    "data.cache": "",
    "config_base": "",
}
"""What a ValueError of a module becomes; empty where nobody meets it, else a ConfigError."""

INTRODUCTIONS = {
    "ConfigError": "Correct the YAML, or the option. Every fault of a config is told at once, with "
    "the full path of its key. [Every key](config.md) has its page, and `mmts config show "
    "CONFIG` prints what was understood.",
    "KindError": "See [your own kind](interactions.md#your-own-kind).",
    "DataError": "Correct the file, or say in the config how it is to be read. [The rules of "
    "reading](data.md) say what is taken for what. `mmts check CONFIG` looks at all files "
    "without training.",
    "CheckpointError": "Give another file, or one that was written anew. A damaged checkpoint is "
    "never used in part.",
    "OutputError": "Name another place. Nothing that existed was overwritten.",
    "CacheError": "The cache only saves time. Make room, or name another folder by "
    "`data.cache_folder`; `data.cache: never` does without.",
    "TrainingError": "The training has ended. What it wrote before stays; its run in MLflow says "
    "that it failed.",
    "TrackingError": "Trainings and forecasts need no store: only looking at it has failed.",
}

HEAD = """\
# Errors

<!-- Written by `python docs/make_errors.py` from the code; do not edit. -->

A message says what is wrong, where, and what to do. It begins with its class. The command \
ends with exit code 2, shows no traceback, and leaves what existed as it was. Whatever shows a \
traceback is a fault of mmts and not yours: please report it.

```
DataError: mydata/weather.csv, row 1842, column 'wind': 'calm' is not a number. Write it as an \
empty cell, add 'calm' to missing_values of the stream, or list the column under 'category'.
```

In Python every class derives from `mmts.errors.MmtsError`, and the message is its text.

Below is every message, by class and by situation. What stands in `<...>` differs from case to \
case; `...` stands for more that does. Some lines are a part of a longer message. To find yours, \
search the page for a few of its words.
"""


@dataclass
class Module:
    """A file of the code: its functions, its imports, and who calls whom."""

    name: str
    tree: ast.Module
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)


def read_modules(root: Path = ROOT) -> dict[str, Module]:
    """Read all code; returns it by the name of the module, without `mmts.`."""
    modules = {}
    for folder in ("mmts", "pipelines"):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__").removeprefix("mmts.")
            module = Module(name, ast.parse(path.read_text(encoding="utf-8")))
            for node in ast.walk(module.tree):
                for child in ast.iter_child_nodes(node):
                    module.parents[child] = node
                if isinstance(node, ast.FunctionDef):
                    module.functions[node.name] = node
                elif isinstance(node, ast.ImportFrom) and node.module:
                    home = node.module.removeprefix("mmts.")
                    for alias in node.names:
                        module.imports[alias.asname or alias.name] = (home, alias.name)
            modules[name] = module
    return modules


def error_classes(modules: dict[str, Module]) -> list[str]:
    """Return the classes of errors, in the order in which they are defined."""
    nodes = modules["errors"].tree.body
    return [n.name for n in nodes if isinstance(n, ast.ClassDef) and n.name != "MmtsError"]


class Collector:
    """Follows what is said in an error back to its words."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self.modules = modules
        self.classes = error_classes(modules)
        self.found: dict[str, dict[str, list[str]]] = {name: {} for name in self.classes}

    def collect(self) -> dict[str, dict[str, list[str]]]:
        """Return the messages: class to situation to texts, each in the order of the code."""
        for module in self.modules.values():
            if module.name in ("errors", "data.reading.faults"):
                # What these say was given to them.
                continue
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call):
                    self._look_at(module, node)
        return self.found

    def _look_at(self, module: Module, call: ast.Call) -> None:
        name = _name_of(call.func)
        if name in ("add", "add_mask") and len(call.args) >= 6:
            self._add_fault(module, call)
            return
        if name in self.classes:
            kind, said = name, call.args
        elif name == "raise_all" and len(call.args) == 2:
            kind, said = _name_of(call.args[0]), call.args[1:]
        elif name == "ValueError" and _longest(OTHERS, module.name) != "":
            kind, said = _longest(OTHERS, module.name) or "ConfigError", call.args
        elif name == "PydanticCustomError":
            kind, said = "ConfigError", call.args[1:2]
        else:
            return
        for expression in said:
            found = self._texts(module, call, expression, 0)
            if not found and isinstance(expression, ast.JoinedStr):
                # So short that it would not be taken for a message elsewhere.
                found = self._texts(module, call, expression, 0, short=True)
            for text in found:
                self._add(kind, module.name, text)

    def _add_fault(self, module: Module, call: ast.Call) -> None:
        """Take a fault of cells: place, what is said and a remedy, gathered over a table."""
        column, said, remedy = call.args[-4:-1]
        is_of_row = isinstance(column, ast.Constant) and column.value is None
        where = "<file>, row <row>" if is_of_row else "<file>, row <row>, column <column>"
        for place, what, after in _pairs(module, call, said, remedy):
            for start in self._texts(module, place, what, 0, short=True) or [_write(what)]:
                for end in self._texts(module, place, after, 0, short=True) or [_write(after)]:
                    if end:
                        self._add("DataError", module.name, f"{where}: {start}. {end}")

    def _add(self, kind: str, module: str, text: str) -> None:
        situation = _longest(SITUATIONS, module)
        if situation is None:
            sys.exit(f"{module} has messages; say in SITUATIONS when they are met")
        known = self.found[kind].setdefault(situation, [])
        if text not in known and not text.startswith(";"):
            known.append(text)

    def _texts(
        self, module: Module, place: ast.AST, said: ast.expr, depth: int, short: bool = False
    ) -> list[str]:
        """Return the sentences that an expression may be."""
        if depth > 8:
            return []

        def follow(expression: ast.expr) -> list[str]:
            return self._texts(module, place, expression, depth + 1, short)

        match said:
            case ast.Constant(value=str(text)):
                return [_tidy(text)] if _is_sentence(text, short) else []
            case ast.JoinedStr(values=parts):
                found = []
                text = _write(said)
                if _is_sentence(text, short):
                    found.append(_tidy(text))
                if not short:
                    for part in parts:
                        if isinstance(part, ast.FormattedValue):
                            found += follow(part.value)
                return found
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                ends = follow(right) if isinstance(right, ast.IfExp) else [_write(right)]
                if _is_sentence(_write(left), short):
                    return [_tidy(_write(left) + end) for end in ends or [_write(right)]]
                return follow(left) + follow(right)
            case ast.IfExp(body=body, orelse=orelse):
                return follow(body) + follow(orelse)
            case (
                ast.GeneratorExp(elt=element) | ast.ListComp(elt=element) | ast.SetComp(elt=element)
            ):
                found = follow(element)
                for generator in said.generators:
                    found += follow(generator.iter)
                return found
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return [text for element in elements for text in follow(element)]
            case ast.Starred(value=value) | ast.NamedExpr(value=value):
                return follow(value)
            case ast.Name(id=name):
                return [
                    text
                    for value in _values_of(module, place, name)
                    for text in self._texts(module, place, value, depth + 1, short)
                ]
            case ast.Call(func=function, args=arguments):
                called = _name_of(function)
                if called in (*self.classes, "nearest", "raise_all"):
                    return []
                home, target = self._function(module, called)
                if target is not None and target.name not in ("describe_faults",):
                    return [
                        text
                        for value in _results_of(target)
                        for text in self._texts(home, value, value, depth + 1, short)
                    ]
                if target is not None:
                    inner = home.functions["_describe"]
                    return [
                        text
                        for value in _results_of(inner)
                        for text in self._texts(home, value, value, depth + 1, short)
                    ]
                if isinstance(function, ast.Attribute) and called == "join":
                    return [text for argument in arguments for text in follow(argument)]
                if called in ("list", "sorted", "tuple", "filter", "chain", "set", "enumerate"):
                    return [text for argument in arguments for text in follow(argument)]
        return []

    def _function(self, module: Module, name: str) -> tuple[Module, ast.FunctionDef | None]:
        if name in module.functions:
            return module, module.functions[name]
        if name in module.imports:
            home, inner = module.imports[name]
            other = self.modules.get(home)
            if other is not None and inner in other.functions:
                return other, other.functions[inner]
        # A method of another class, where only one has that name.
        owners = [
            m for m in self.modules.values() if name in m.functions and name.find("fault") >= 0
        ]
        return (owners[0], owners[0].functions[name]) if len(owners) == 1 else (module, None)


def _pairs(
    module: Module, place: ast.AST, said: ast.expr, remedy: ast.expr
) -> list[tuple[ast.AST, ast.expr, ast.expr]]:
    """Return what is said and its remedy, with the place where each of both stands."""
    function = place
    while function in module.parents and not isinstance(function, ast.FunctionDef):
        function = module.parents[function]
    assert isinstance(function, ast.FunctionDef)
    match said, remedy:
        case ast.Name(id=one), ast.Name(id=other):
            # Given together: `said, remedy = "...", "..."`, or one after the other.
            found = []
            for node in ast.walk(function):
                match node:
                    case ast.Assign(
                        targets=[ast.Tuple(elts=[ast.Name(id=first), ast.Name(id=second)])],
                        value=ast.Tuple(elts=[what, after]),
                    ) if (first, second) == (one, other):
                        found.append((place, what, after))
            if found:
                return found
    names = [argument.arg for argument in function.args.args if argument.arg != "self"]
    used = {n.id for e in (said, remedy) for n in ast.walk(e) if isinstance(n, ast.Name)}
    if not used & set(names) & {"said", "remedy"}:
        return [(place, said, remedy)]
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and _name_of(node.func) == function.name:
            for given in _given_to(module, names, node.args):
                filled = _Filling(given)
                what, after = filled.visit(copy.deepcopy(said)), filled.visit(copy.deepcopy(remedy))
                found.append((node, what, after))
    return found or [(place, said, remedy)]


def _given_to(
    module: Module, names: list[str], arguments: list[ast.expr]
) -> Iterator[dict[str, ast.expr]]:
    """Yield what parameters are given, once for each pair that a function returns for the last."""
    match arguments:
        case [*first, ast.Starred(value=ast.Call(func=function))]:
            given = dict(zip(names, first, strict=False))
            for value in _results_of(module.functions[_name_of(function)]):
                if isinstance(value, ast.Tuple):
                    yield given | dict(zip(names[len(first) :], value.elts, strict=False))
        case _:
            yield dict(zip(names, arguments, strict=False))


class _Filling(ast.NodeTransformer):
    """Puts what a function is called with in place of its parameters."""

    def __init__(self, given: dict[str, ast.expr]) -> None:
        self.given = {name: given[name] for name in ("said", "remedy") if name in given}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.given.get(node.id, node)


def _values_of(module: Module, place: ast.AST, name: str) -> Iterator[ast.expr]:
    """Yield what a variable is given in the function around a place."""
    scope = place
    while scope in module.parents and not isinstance(scope, ast.FunctionDef):
        scope = module.parents[scope]
    for node in [*ast.walk(scope), *module.tree.body]:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                yield value
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for one, value in zip(names, values, strict=False):
                    if isinstance(one, ast.Name) and one.id == name:
                        yield value
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value):
                if found == name:
                    yield value
            case ast.AugAssign(target=ast.Name(id=found), value=value) if found == name:
                yield _joined(scope, name, value)
            case ast.NamedExpr(target=ast.Name(id=found), value=value) if found == name:
                yield value
            case ast.For(target=ast.Name(id=found), iter=value) if found == name:
                yield value
            case ast.comprehension(target=ast.Name(id=found), iter=value) if found == name:
                yield value
            case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr=attr), args=[value]):
                if found == name and attr in ("append", "extend", "add"):
                    yield value


def _joined(scope: ast.AST, name: str, value: ast.expr) -> ast.expr:
    """Return a text behind the one that it is added to; what is no text as it is."""
    if isinstance(value, ast.JoinedStr | ast.Constant):
        for node in ast.walk(scope):
            match node:
                case ast.Assign(targets=[ast.Name(id=found)], value=before) if found == name:
                    return ast.BinOp(before, ast.Add(), value)
    return value


def _results_of(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) and node.value is not None:
            yield node.value


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
    return ""


def _write(expression: ast.expr) -> str:
    """Write a text, with what differs from case to case in <...>."""
    match expression:
        case ast.Constant(value=value):
            return str(value)
        case ast.JoinedStr(values=parts):
            return "".join(map(_write, parts))
        case ast.FormattedValue(value=value):
            return _placeholder(value)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _write(left) + _write(right)
    return _placeholder(expression)


def _placeholder(expression: ast.expr) -> str:
    match expression:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return _write(expression)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return f"<{name.strip('_').replace('_', ' ')}>"
        case ast.Call(func=ast.Name(id="nearest")):
            return "; did you mean <word>?"
        case ast.Call(
            func=ast.Attribute(attr="join"), args=[ast.Call(args=[*_, ast.Name() as name])]
        ):
            return _placeholder(name)
        case ast.Call(func=ast.Attribute(attr="join"), args=[ast.Name() as name]):
            return _placeholder(name)
        case ast.Call(func=ast.Name(id="and_more")):
            return ""
        case ast.Call(func=ast.Name(), args=[ast.Name() | ast.Attribute() as name]):
            return _placeholder(name)
    return "..."


def _tidy(text: str) -> str:
    # Names in braces are filled in later, as pydantic does.
    text = re.sub(r"(?<!\{)\{([a-z]+)\}", r"<\1>", text)
    return re.sub(r"\s+", " ", text).strip()


def _is_sentence(text: str, short: bool) -> bool:
    """Tell a message from a name, or from a part of one."""
    words = re.findall(r"[A-Za-z']{2,}", re.sub(r"<[^>]*>", "", text))
    return len(words) >= (2 if short else 4)


def _longest(table: dict[str, str], module: str) -> str | None:
    names = [name for name in table if f"{module}.".startswith(f"{name}.")]
    return table[max(names, key=len)] if names else None


def write_page(root: Path = ROOT) -> str:
    """Return the page."""
    modules = read_modules(root)
    found = Collector(modules).collect()
    lines = [HEAD]
    for name, by_situation in found.items():
        lines.append(f"## {name}\n")
        node = next(n for n in modules["errors"].tree.body if getattr(n, "name", "") == name)
        assert isinstance(node, ast.ClassDef)
        lines.append(f"{ast.get_docstring(node)} {INTRODUCTIONS.get(name, '')}".strip() + "\n")
        for situation in dict.fromkeys([*SITUATIONS.values(), *by_situation]):
            texts = by_situation.get(situation)
            if texts:
                lines.append(f"### {situation}\n")
                lines += [f"- {_as_code(text)}" for text in texts]
                lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _as_code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    (ROOT / "docs" / "errors.md").write_text(write_page(), encoding="utf-8")
