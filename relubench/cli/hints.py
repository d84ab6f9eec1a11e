"""What somebody meant whose command line cannot be read: the words of other tools and languages."""

from __future__ import annotations

import re

from relubench.cli.flags import OutputFlags, RunFlags
from relubench.config.options import declared
from relubench.errors import suggestion

NO_OPTION = re.compile(r"No such option:? '?(--?[^\s']+)")
NO_COMMAND = re.compile(r"No such command '(.*?)'")
COMMANDS = (
    *("train", "cv", "compare", "suggest", "deadcount", "report", "list", "cost", "show", "ledger"),
    *("doctor", "help"),
)
LEDGER_COMMANDS = ("show", "export", "small-predicts-large", "check", "rm", "merge")
MORE = (  # flags of single commands
    *("save", "explain", "baseline", "save-baseline", "junit", "curve", "confusion", "help"),
    *("picture", "search", "sizes", "rounds", "strict", "require-baseline", "version", "layers"),
)
FORMATS = ("json", "jsonl", "csv", "html", "latex", "github", "text")
MEANT = {
    **{f"--{name}": f"--format {name}" for name in FORMATS if name != "json"},
    **dict.fromkeys(("--tex",), "--format latex"),
    **dict.fromkeys(("--md", "--markdown"), "--format github"),
    **dict.fromkeys(("--rate", "--lrs", "--eta"), "--lr"),
    **dict.fromkeys(("--batch", "--bs", "--batchsize"), "--batch-size"),
    **dict.fromkeys(("--plot", "--figure", "--chart", "--svg", "--png"), "-o FILE.svg"),
    **dict.fromkeys(("--page",), "-o report.html"),
    **dict.fromkeys(("--k", "--k-folds", "--kfold", "--cv"), "--folds"),
    **dict.fromkeys(("--workers", "--processes", "--parallel", "--num-workers"), "--jobs"),
    **dict.fromkeys(("--gpu", "--cuda"), "--device cuda"),
    **dict.fromkeys(("--cpu",), "--device cpu"),
    **dict.fromkeys(("--network", "--net", "--arch", "--architecture"), "--model"),
    **dict.fromkeys(("--data", "--input"), "--dataset"),
    **dict.fromkeys(("--act", "--acts", "--function", "--unit"), "--activation"),
    **dict.fromkeys(("--opt", "--optim"), "--optimizer"),
    **dict.fromkeys(("--wd", "--l2", "--decay"), "--weight-decay"),
    **dict.fromkeys(("--random-state", "--random-seed"), "--seed"),
    **dict.fromkeys(("--runs", "--n-seeds", "--repetitions"), "--seeds"),
    **dict.fromkeys(("--out", "--file"), "--output"),
    **dict.fromkeys(("--silent",), "--quiet"),
    **dict.fromkeys(("--debug",), "--verbose"),
    **dict.fromkeys(("--dry", "--plan", "--noop", "-n"), "--dry-run"),
    **dict.fromkeys(("--normalize", "--normalise", "--standardize", "--scale"), "--standardise"),
    **dict.fromkeys(("--dtype", "--fp"), "--precision"),
    **dict.fromkeys(("--subset", "--max-samples", "--samples"), "--limit"),
    **dict.fromkeys(("--force", "--no-cache"), "--rerun"),
    **dict.fromkeys(("--cols", "--fields"), "--columns"),
    **dict.fromkeys(("--order", "--order-by", "--sort-by"), "--sort"),
    **dict.fromkeys(("--group-by", "--groups"), "--group"),
}
INSTEAD = {
    **dict.fromkeys(("run", "fit", "start"), "relubench train"),
    **dict.fromkeys(("bench", "benchmark", "benchmarks", "vs", "test"), "relubench compare"),
    **dict.fromkeys(("crossval", "cross-validate", "kfold"), "relubench cv"),
    **dict.fromkeys(("dead", "neurons", "count"), "relubench deadcount"),
    **dict.fromkeys(("time", "timing", "speed"), "relubench cost"),
    **dict.fromkeys(("ls", "activations", "models", "datasets", "catalog"), "relubench list"),
    **dict.fromkeys(("results", "history"), "relubench ledger show"),
    **dict.fromkeys(("gate", "check", "regression"), "relubench compare --baseline FILE"),
    **dict.fromkeys(("manual", "man", "docs", "topics"), "relubench help"),
    "version": "relubench --version",
    **dict.fromkeys(("diagnose", "info", "env", "selftest"), "relubench doctor"),
}


def hint(message: str, arguments: list[str]) -> str:
    """The message of a command line that cannot be read, with what was meant."""
    if found := NO_OPTION.search(message):
        meant = _option(found[1])
        return f"no such option: {found[1]}" + (f": {meant}" if meant else " (--help names all)")
    if found := NO_COMMAND.search(message):
        return f"no such command: {found[1]!r}: {_command(found[1], arguments)}"
    if "unexpected extra argument" in message:
        return f"{message}: names are joined by commas, as in -a relu,gelu"
    return message


def _option(name: str) -> str:
    if meant := MEANT.get(name.lower().replace("_", "-")):
        return f"did you mean {meant}?"
    # Of all commands: whether this one has it, is said apart.
    names = [option.key for option in declared()]
    names += [*RunFlags.__annotations__, *OutputFlags.__annotations__, *MORE]
    known = [f"--{each.replace('_', '-')}" for each in names]
    meant = name.replace("_", "-")
    if meant in known and meant == name:
        return "other commands have it, and this one has not (--help names all)"
    return suggestion(meant, known).replace("'", "")


def _command(name: str, arguments: list[str]) -> str:
    # `relubench train help`: help is asked for as other tools have it.
    if name == "help":
        rest = " ".join([word for word in arguments if word != "help"][:2])
        return f"did you mean 'relubench {f'{rest} --help' if rest else '--help'}'?"
    if meant := INSTEAD.get(name.lower()):
        return f"did you mean {meant!r}?"
    known = LEDGER_COMMANDS if arguments[:1] == ["ledger"] else COMMANDS
    return suggestion(name, known) or f"known: {', '.join(known)}"
