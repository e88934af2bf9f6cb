"""Kernels compiled by several processes before a model is loaded for the first time."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny_checkpoint import EVEN, RandomCheckpoint

import whisperlite.kernels
from whisperlite.graph import make_plan
from whisperlite.kernels import registry, rows
from whisperlite.kernels.registry import Kernel
from whisperlite.model import Whisper
from whisperlite.model.build import PARTS
from whisperlite.runtime import precompile
from whisperlite.trace import compile_listener

needs_objects = pytest.mark.skipif(not registry.KEEPS_OBJECTS, reason="object files are kept on 64-bit Linux only")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_CACHE_DIR", str(tmp_path))
    registry.cache_folder.cache_clear()
    yield tmp_path
    registry.cache_folder.cache_clear()


def test_every_kernel_is_found_by_its_name():
    for found in pkgutil.iter_modules(whisperlite.kernels.__path__):
        module = importlib.import_module(f"whisperlite.kernels.{found.name}")
        for kernel in vars(module).values():
            if isinstance(kernel, Kernel) and kernel.function.__module__ == module.__name__:
                assert getattr(module, kernel.name) is kernel


def foreseen_of(model: Whisper) -> list[Kernel]:
    sizes = {"A": 1, "B": 1, "N": 1, "R": 1, "T": model.dims.n_audio_ctx, "U": 1}
    return precompile.kernels_of(make_plan(model._graph(part, ()), sizes) for part in PARTS)


@pytest.mark.parametrize("compute_type", ["default", "float32", "bfloat16", "int8"])
def test_the_kernels_foreseen_are_those_a_model_asks_for(compute_type, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_BF16", "widen")  # a measurement would ask for others too
    asked = set()
    address = Kernel.address

    def noted(self):
        asked.add(self.name)
        return address(self)

    monkeypatch.setattr(Kernel, "address", noted)
    model = Whisper(RandomCheckpoint(EVEN), compute_type, threads=2)
    assert {kernel.name for kernel in foreseen_of(model)} == asked


@needs_objects
def test_other_processes_fill_the_cache_and_say_what_they_do(empty_cache):
    told = []
    with compile_listener(lambda name, seconds: told.append((name, seconds is not None))):
        precompile.compile_missing([rows.gelu_f32, rows.select_rows_f32], 2)
    names = ["gelu_f32", "publish", "run_table", "select_rows_f32", "serve"]
    assert sorted(told) == [(name, done) for name in names for done in (False, True)]
    assert sorted(path.name.split(".")[1] for path in empty_cache.rglob("*.o")) == names
    assert all(registry.is_cached(kernel.function) for kernel in (rows.gelu_f32, rows.select_rows_f32))
    assert not registry.is_cached(rows.add_f32.function)


@needs_objects
@pytest.mark.parametrize("executable", ["", "/no/such/python", "/bin/false", "/usr/bin/python-that-is-none"])
def test_no_other_process_is_needed(empty_cache, executable, monkeypatch):
    monkeypatch.setattr(sys, "executable", executable)
    precompile.compile_missing([rows.gelu_f32, rows.select_rows_f32], 2)
    assert not list(empty_cache.rglob("*.o"))


@needs_objects
def test_a_process_that_dies_leaves_the_rest_to_the_caller(empty_cache, monkeypatch):
    real = subprocess.Popen
    monkeypatch.setattr(
        precompile.subprocess, "Popen", lambda command, **options: real([sys.executable, "-c", ""], **options)
    )
    precompile.compile_missing([rows.gelu_f32, rows.select_rows_f32], 2)
    assert not list(empty_cache.rglob("*.o"))


@needs_objects
def test_the_first_missing_kernel_asks_once(empty_cache):
    calls = []
    fresh = Kernel(rows.zero_pad_rows.function, rows.zero_pad_rows.params)
    other = Kernel(rows.select_rows_f32.function, rows.select_rows_f32.params)
    with registry.when_missing(lambda: calls.append(1)):
        assert fresh.address() and other.address()
    assert calls == [1]
    with registry.when_missing(lambda: calls.append(2)):
        assert Kernel(rows.zero_pad_rows.function, rows.zero_pad_rows.params).address()
    assert calls == [1]


@needs_objects
@pytest.mark.slow
def test_a_model_s_first_load_compiles_in_processes(tmp_path):
    """With some kernels missing; that they may all be, commands show which find an empty folder."""
    model = Whisper(RandomCheckpoint(EVEN), "int8", threads=2)
    expected = model.encode(np.ones((1, 13, 82), np.float32))[0, 0, :4]
    for kernel in foreseen_of(model):
        kernel.address()
    folder = tmp_path / registry.cache_folder().name
    shutil.copytree(registry.cache_folder(), folder)
    missing = ("rows.transpose_frames_f32", "rows.layer_norm_f32", "interpreter.serve")
    for name in missing:
        (folder / f"{name}.o").unlink()
    code = (
        "import sys; sys.path.insert(0, 'tests'); import numpy as np;"
        "from tiny_checkpoint import EVEN, RandomCheckpoint; from whisperlite.model import Whisper;"
        "m = Whisper(RandomCheckpoint(EVEN), 'int8', threads=2); f = m.encode(np.ones((1, 13, 82), np.float32));"
        "print(*f[0, 0, :4].tolist(), 'numba.cpython.numbers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WHISPERLITE_CACHE_DIR": str(tmp_path), "WHISPERLITE_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "compiling 3 kernels in 2 processes" in done.stderr
    assert set(re.findall(r"^whisperlite: compiled (\w+) in ", done.stderr, re.MULTILINE)) == {
        name.partition(".")[2] for name in missing
    }
    *values, compiled_here = done.stdout.split()
    assert compiled_here == "False"
    np.testing.assert_array_equal(np.array(values, np.float32), expected)
