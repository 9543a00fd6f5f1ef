"""`python -m benchmarks [NAME…] [-o json] [--dir DIR]`: run benchmarks, print a table."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator

from benchmarks import blocks, curve, export, fanout, memory, merge, operator, planning, scrape
from benchmarks.report import Figure, as_json, as_table

Benchmark = Callable[[str, Callable[[str], None]], Iterator[Figure]]

BENCHMARKS: dict[str, Benchmark] = {
    "blocks": blocks.run,
    "curve": curve.run,
    "export": export.run,
    "fanout": fanout.run,
    "memory": memory.run,
    "merge": merge.run,
    "operator": operator.run,
    "plan": planning.run,
    "scrape": scrape.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--dir", help="where to write (some GiB); default: the temporary directory")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        print(text, file=sys.stderr, flush=True)

    figures: list[Figure] = []
    for name in arguments.names or BENCHMARKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.dir) as directory:
            figures.extend(BENCHMARKS[name](directory, note))
    print(as_json(figures, notes) if arguments.output == "json" else as_table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
