import time

import pytest

from reconciler.desired.document import Identity, ManifestFile
from reconciler.desired.resolve import resolve
from reconciler.sources import documents
from reconciler.sources.documents import FILE_BYTES_MAX, parse_file

HEAD = "apiVersion: backup.reconciler.io/v1alpha1\nkind: BackupJob\n"


def parse(text: str) -> ManifestFile:
    return parse_file("x.yaml", text.encode())


def places(file: ManifestFile) -> list[tuple[int, int, str]]:
    problems = [*file.problems, *(one.problem for one in file.broken)]
    problems += [problem for one in file.documents for problem in one.problems]
    return [(problem.line, problem.column, problem.message) for problem in problems]


class TestSplitting:
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            ("a: 1\n", [1]),
            ("a: 1\n---\nb: 2\n", [1, 3]),
            ("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n", [2, 7]),
            ("--- {a: 1}\n--- # note\nb: 2\n", [1, 3]),
            ("%YAML 1.2\n---\na: 1\n", [3]),
            ("a: 1\n...\nb: 2\n", [1, 3]),
            ("a: |\n  ---\n  b\n", [1]),
            ("a: 1\r\n---\r\nb: 2\r\n", [1, 3]),
            ("a: 1\r---\rb: 2", [1, 3]),
            ("\ufeffa: 1\n", [1]),
            ("# only a comment\n---\n", []),
            ("---\nnull\n", []),
        ],
    )
    def test_documents_begin_where_they_begin(self, text: str, lines: list[int]) -> None:
        file = parse(text)
        assert places(file) == []
        assert [one.mark(()).line for one in file.documents] == lines

    def test_one_that_is_not_yaml_hides_no_other(self) -> None:
        file = parse("a: [\n---\nb: 2\n---\nc: : d\n---\nd: 4\n")
        assert [one.mark(()).line for one in file.documents] == [3, 7]
        assert [one[0] for one in places(file)] == [2, 5]

    def test_a_file_without_text_is_blank(self) -> None:
        assert parse("").blank
        assert parse(" \n\n").blank
        assert not parse("# gone\n").blank


class TestLimits:
    def test_of_size(self) -> None:
        file = parse_file("x.yaml", b"a" * (FILE_BYTES_MAX + 1))
        assert "larger than 2 MiB" in file.problems[0].message
        assert not file.whole

    def test_of_documents(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(documents, "DOCUMENTS_MAX", 3)
        file = parse("---\na: 1\n" * 5)
        assert len(file.documents) == 3
        assert places(file)[0][0] == 7
        assert not file.whole

    @pytest.mark.parametrize(
        "text",
        [
            "x" * 300_000,
            "!" * 60_000,
            "[" * 60_000,
            "[\n" * 150_000,
            "{\n" * 150_000,
            "- " * 30_000,
            "'" * 60_000,
            "'\n" * 150_000,
            ": " * 30_000,
            "? " * 30_000,
            "?\n" * 150_000,
            "&a " * 20_000,
            "&a\n" * 100_000,
            "!a\n" * 100_000,
            "*a\n" * 100_000,
            "x\n" * 150_000 + ": y",
            "x\n" * 150_000 + "'",
            "\n" * 300_000 + ": [",
            "a: |\n" + " x\n" * 100_000 + "b: [",
            "a: >\n" + " x\n\n" * 80_000 + "b: [",
            "a: '\n" + " x\n\n" * 80_000 + "b: [",
            "a:\n" * 100_000 + "b: [",
            "a: {\n" * 80_000,
            "#\n" * 150_000 + "a: [",
            "".join(" " * n + "a:\n" for n in range(1_000)),
            "".join(" " * n + "-\n" for n in range(1_000)),
        ],
    )
    def test_hostile_text_is_refused_soon(self, text: str) -> None:
        started = time.process_time()
        file = parse(text)
        assert places(file)
        assert time.process_time() - started < 20  # it takes one; a square of the size took minutes

    def test_a_bomb_of_aliases(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
        assert "values in one document" in places(parse("\n".join(lines)))[0][2]


def test_ten_thousand_lines_with_fifty_mistakes_tell_all_fifty() -> None:
    lines, wrong = [], []
    for number in range(700):
        lines += ["---", *HEAD.splitlines(), f"metadata: {{name: job-{number}}}", "spec:"]
        lines += ["  poolRefs:", "    - name: lab", "  selector: {all: true}", "  targets:"]
        lines += ["    - remoteRef: {name: cellar}", "  schedules:", "    - name: night"]
        lines += ['      cron: "0 2 * * *"', "  retention:", "    last: 7"]
        mistake = [
            "    dayly: 3",  # unknown
            "    weekly: four",  # not a number
            "   daily: 3",  # not YAML
            "\tdaily: 3",  # not YAML
            "    last: 9",  # twice
        ][number % 5]
        if number % 14 == 3:
            lines.append(mistake)
            wrong.append(len(lines))
    lines += ["---", *HEAD.replace("BackupJob", "XenPool").splitlines(), "metadata: {name: lab}"]
    lines += ["spec: {urls: [https://a.example], passwordFrom: {env: X}}"]
    lines += ["---", *HEAD.replace("BackupJob", "BackupRemote").splitlines()]
    lines += ["metadata: {name: cellar}", "spec: {local: {path: /srv/b}}"]
    assert len(lines) > 10_000
    desired = resolve([parse("\n".join(lines))]).desired
    assert len(wrong) == 50
    assert [problem.line for problem in desired.problems] == wrong
    assert all(problem.source for problem in desired.problems)
    assert len(desired.jobs) == 650
    assert len(desired.protected_jobs) == 50


class TestEncoding:
    def test_what_is_not_utf_8_is_told_by_its_byte(self) -> None:
        file = parse_file("x.yaml", b"a: 1\nb: caf\xe9\n")
        assert places(file) == [(2, 7, "the byte 0xe9 is not UTF-8")]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
    def test_utf_16_is_refused(self, encoding: str) -> None:
        assert places(parse_file("x.yaml", "a: 1\n".encode(encoding)))

    @pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\ufffe"])
    def test_control_characters_are_refused_where_they_stand(self, character: str) -> None:
        ((line, column, message),) = places(parse(f"---\na: 1\nb: x{character}y\n"))
        assert (line, column) == (3, 5)
        assert "cannot stand in YAML" in message


class TestBrokenDocuments:
    @pytest.mark.parametrize(
        "text",
        [
            HEAD + "metadata: {name: nightly}\nspec: [\n",
            HEAD + "metadata:\n  labels: {x: y}\n  name: nightly\nspec: [\n",
            HEAD + "metadata:\n  name: 'nightly'\n  namespace: default\nspec: [\n",
            HEAD + "\nmetadata:\n\n  name: nightly # why\n\nspec:\n\t- x\n",
            "kind: BackupJob\nmetadata: {name: nightly, labels: {\n",
        ],
    )
    def test_whose_they_are_is_read_off_the_text(self, text: str) -> None:
        (broken,) = parse(text).broken
        assert broken.identity == Identity("BackupJob", "default", "nightly")
        assert broken.problem.object == "BackupJob/nightly"

    @pytest.mark.parametrize(
        "text",
        [
            "kind: [",
            HEAD + "spec: {name: x, y: [\n",
            "kind: Banana\nmetadata: {name: x}\nspec: [\n",
            HEAD + "metadata: [\n",
        ],
    )
    def test_or_it_is_not_known(self, text: str) -> None:
        (broken,) = parse(text).broken
        assert broken.identity is None

    def test_a_pinned_job_is_recognised(self) -> None:
        pinned = "5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"
        (broken,) = parse(
            HEAD + f"metadata: {{name: x}}\nspec:\n  jobId: {pinned}\n  a: [\n"
        ).broken
        assert broken.pinned_job == pinned

    @pytest.mark.parametrize("text", ["- a\n", "just text\n", "[]\n", "7\n"])
    def test_a_document_is_a_mapping(self, text: str) -> None:
        ((_, _, message),) = places(parse(text))
        assert message == "a document must be a mapping"


class TestSecrets:
    CANARY = "hunter2"

    @pytest.mark.parametrize(
        "text",
        [
            "password: {c}: x\n",
            'password: "{c}\n',
            "spec: {{password: {c}, a: [}}\n",
            "spec:\n  password: {c}\n b: c\n",
            "password: !{c} x\n",
            "password: *{c}\n",
            'password: "\\{c}"\n',
            "password: {c}\npassword: {c}\n",
            "a: &a {c}\npassword: *a\na: 2\n",
            "password: |\n  {c}\n a: b\n",
            "passwordFrom: {c}\npasswordFrom: {c}\n",
            "url: https://root:{c}@host: x\n",
            'password: "{c}\\x07"\n',
            'password: "\\e{c}"\n',
        ],
    )
    def test_no_problem_shows_one(self, text: str) -> None:
        file = parse(text.format(c=self.CANARY))
        assert places(file)
        problems = [one.problem for one in file.broken]
        problems += [problem for one in file.documents for problem in one.problems]
        assert self.CANARY not in repr(problems)
