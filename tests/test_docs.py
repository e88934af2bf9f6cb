"""The documentation: its code runs, its tables are complete, its site builds without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from doc_blocks import (
    REPOSITORY,
    Block,
    blocks_of,
    has_module,
    pages,
    provide_audio,
    run_python,
    run_shell,
    same_output,
)

from whisperlite.checkpoint import PUBLISHED
from whisperlite.checkpoint.names import expected_shapes
from whisperlite.checkpoint.resolve import ASSETS
from whisperlite.checkpoint.write_ggml import stored_kind
from whisperlite.inspection import memory_needed, stored_bytes
from whisperlite.transcribe.options import OPTION_NAMES

DOCS = REPOSITORY / "docs"
BLOCKS = {page: blocks_of(page) for page in pages()}
RUN_LANGUAGES = ("python", "sh")
# What the code of a page takes for granted; the page says so in words.
GIVEN = {
    "architecture.md": """
        import numpy as np
        from whisperlite import WhisperModel, demo_audio
        model = WhisperModel("nano")
        mel, n_rows = model.log_mel(demo_audio())[None], 1
        prompts, tokens, text = np.full((1, 4), 1000), np.full(1, 1000), np.full(5, 1000)
        source_rows, heads = np.zeros(1, np.int32), ((2, 0), (3, 1))
    """,
}
NOT_RUN_LIST = DOCS / "develop.md"


@pytest.mark.parametrize("page", BLOCKS, ids=lambda page: page.name)
def test_code_of_the_page_runs(page: Path, tmp_path, monkeypatch):
    """In order, in one folder, names of one Python block known to the next; nano for every published model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))  # not what the developer has set
    monkeypatch.setattr("whisperlite.checkpoint.hub.fetch", lambda name, options=None: ASSETS / "nano")
    names: dict = {"__name__": "__main__"}
    exec(textwrap.dedent(GIVEN.get(page.name, "")), names)
    printed = None
    for block in BLOCKS[page]:
        if block.title == "Output":
            assert printed is not None, f"{block}: no block that was run stands before this output"
            assert same_output(block.text, printed), f"{block}: printed\n{printed}"
        elif block.language in RUN_LANGUAGES and not block.not_run and not block.is_excerpt:
            provide_audio(block.text, tmp_path)
            try:
                printed = run_python(block, names) if block.language == "python" else run_shell(block, tmp_path)
            except (Exception, SystemExit) as error:
                error.add_note(f"in the block at {block}")
                raise
        else:
            printed = None


def test_every_block_names_its_language():
    for page in BLOCKS:
        for block in BLOCKS[page]:
            assert block.language, f"{block}: name the language of the block; text where there is none"
            assert block.language not in ("bash", "shell", "console", "py"), f"{block}: write python or sh"


def test_blocks_that_are_not_run_are_listed():
    """Every block that is skipped is marked on the page, for the reader to see, and in the list."""
    listed = re.findall(r"^\| `([^`]+)` \| (\d+) \| (.+?) \|$", NOT_RUN_LIST.read_text(), re.MULTILINE)
    skipped: dict[tuple[str, str], int] = {}
    for page in BLOCKS:
        for block in BLOCKS[page]:
            if block.language in RUN_LANGUAGES and block.not_run:
                key = (block.page, block.not_run)
                skipped[key] = skipped.get(key, 0) + 1
    assert {(page, reason): int(count) for page, count, reason in listed} == skipped


def excerpts() -> list[Block]:
    return [block for blocks in BLOCKS.values() for block in blocks if block.is_excerpt]


@pytest.mark.parametrize("block", excerpts(), ids=str)
def test_excerpts_stand_in_their_file(block: Block):
    """A line ``...`` leaves lines out."""
    source = (REPOSITORY / block.title).read_text(encoding="utf-8")
    at = 0
    for part in re.split(r"^ *\.\.\.\n", block.text, flags=re.MULTILINE):
        found = source.find(part, at)
        assert found >= 0, f"{block}: not in {block.title}:\n{part}"
        at = found + len(part)


def test_option_tables_are_up_to_date():
    done = subprocess.run([sys.executable, "tools/option_tables.py", "--check"], cwd=REPOSITORY)
    assert done.returncode == 0, "docs/options.md is out of date: run python tools/option_tables.py"


def test_command_line_tables_are_up_to_date():
    done = subprocess.run([sys.executable, "tools/cli_tables.py", "--check"], cwd=REPOSITORY)
    assert done.returncode == 0, "docs/cli.md is out of date: run python tools/cli_tables.py"


def test_every_option_has_a_row():
    rows = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "options.md").read_text(), re.MULTILINE))
    assert set(OPTION_NAMES) - {"max_new_tokens"} <= rows
    assert "`max_new_tokens`" in (DOCS / "options.md").read_text()


def test_memory_by_type_is_that_of_the_models_sizes():
    """The table of docs/small_machines.md."""
    rows = re.findall(r"^\| ([\w.-]+) \|((?: \d+ / \d+ \|){4})$", (DOCS / "small_machines.md").read_text(), re.M)
    assert len(rows) == 6
    for name, cells in rows:
        dims = PUBLISHED[name].dims
        shapes = expected_shapes(dims)
        for kind, cell in zip(("f16", "q8_0", "q5_0", "q4_0"), cells.strip(" |").split("|"), strict=True):
            stored = {key: stored_kind(key, shape, kind) for key, shape in shapes.items()}
            dtypes = {key: {"f16": "float16", "f32": "float32"}.get(value, value) for key, value in stored.items()}
            model = SimpleNamespace(dims=dims, names=lambda dtypes=dtypes: list(dtypes), dtype=dtypes.__getitem__)
            n_bytes = sum(stored_bytes(dtypes[key], shape) for key, shape in shapes.items())
            file_mb, memory_mb = map(int, cell.split("/"))
            assert file_mb == round(n_bytes / 1e6), f"{name} {kind}"
            if name in ("tiny", "base"):  # planning a large model takes seconds
                needed = memory_needed(model, "default").total  # type: ignore[arg-type]
                assert abs(memory_mb - needed / 1e6) <= 0.02 * memory_mb, f"{name} {kind}"


def test_relative_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (REPOSITORY / "README.md").read_text())
    assert links
    for link in links:
        assert (REPOSITORY / link).exists(), f"README.md links to {link}, which is not there"


def test_figures_of_the_readme_are_those_of_the_performance_page():
    found = [
        re.findall(r"<!-- figures[^>]*-->\n(.*?)<!-- end of figures -->", path.read_text(), re.DOTALL)
        for path in (REPOSITORY / "README.md", DOCS / "performance.md")
    ]
    assert len(found[0]) == 1 and found[0] == found[1], "copy the table of docs/performance.md into README.md"


def test_every_page_has_a_place_in_the_site():
    """In the navigation, or as a comment there that keeps the place of a page to come."""
    config = (REPOSITORY / "mkdocs.yml").read_text()
    placed = set(re.findall(r"([\w/-]+\.md)\b", config[config.index("\nnav:") :]))
    assert {page.relative_to(DOCS).as_posix() for page in BLOCKS if page.is_relative_to(DOCS)} <= placed


@pytest.mark.skipif(not has_module("material"), reason='mkdocs-material is not installed: pip install ".[docs]"')
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's notice about releases to come
    done = subprocess.run(command, cwd=REPOSITORY, env=quiet, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site" / "reference" / "index.html").read_text()
    assert 'id="whisperlite.WhisperModel.transcribe"' in reference
