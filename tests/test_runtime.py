"""Programs, thread teams, shadow execution and the kernel cache."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from tiny_checkpoint import ODD, RandomCheckpoint

from whisperlite.errors import BackendError, CheckFailedError
from whisperlite.graph import FLOAT32, Fact, Graph, make_plan, symbol
from whisperlite.kernels import cpu, objects, registry
from whisperlite.model import Whisper
from whisperlite.runtime import executor
from whisperlite.runtime.executor import Program, Workspace
from whisperlite.runtime.weights import Weights


@pytest.fixture(scope="module")
def model():
    return Whisper(RandomCheckpoint(ODD), threads=2)


def gelu_program(backend="numba", threads=1):
    graph = Graph()
    x = graph.input("x", Fact(FLOAT32, (symbol("B"), 5)))
    graph.output("y", graph.add("gelu", [x]))
    plan = make_plan(graph, {"B": 3})
    return Program(plan, Weights(RandomCheckpoint(ODD)), Workspace(), backend, threads)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_a_program_runs_again_on_changed_inputs(backend):
    x = np.zeros((3, 5), np.float32)
    run = gelu_program(backend).bind({"x": x})
    assert (run.run()["y"] == 0).all()
    x[:] = 10
    np.testing.assert_allclose(run.run()["y"], 10, rtol=1e-6)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "is missing"),
        ({"x": np.zeros((3, 4), np.float32)}, "the plan wants"),
        ({"x": np.zeros((3, 5))}, "float64"),
        ({"x": np.zeros((5, 3), np.float32).T}, "not contiguous"),
        ({"x": np.zeros((3, 5), np.float32), "z": np.zeros(1)}, "'z' is not one of"),
    ],
)
def test_inputs_are_checked(inputs, message):
    with pytest.raises(BackendError, match=message):
        gelu_program().bind(inputs)


def test_an_unoptimised_op_is_refused():
    graph = Graph()
    q = graph.input("q", Fact(FLOAT32, (1, 4, 8)))
    graph.output("y", graph.add("attention", [q, q, q], n_head=2))
    with pytest.raises(BackendError, match="has no compiled kernel"):
        Program(make_plan(graph, {}), Weights(RandomCheckpoint(ODD)), Workspace(), "numba", 1)


def test_shadow_execution_passes_on_a_sound_model(model, monkeypatch):
    mel = np.random.default_rng(0).standard_normal((1, ODD.n_mels, 82)).astype(np.float32)
    expected = model.encode(mel)
    monkeypatch.setenv("WHISPERLITE_CHECK", "1")
    features = model.encode(mel)
    np.testing.assert_array_equal(features, expected)
    cross, cache = model.cross_kv(features), model.new_cache(1)
    model.prefill([[1, 2, 3]], cache, cross)
    model.step([4], cache, cross)


def test_shadow_execution_names_the_node_that_differs(model, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_CHECK", "1")

    def wrong(*arguments, out, **attrs):
        out[...] = 1

    monkeypatch.setitem(executor.REFERENCE, "layer_norm", wrong)
    mel = np.zeros((1, ODD.n_mels, 82), np.float32)
    with pytest.raises(CheckFailedError, match=r"layer_norm encoder.blocks.0.attn_ln.*differ"):
        model.encode(mel)


def test_profile_accounts_for_every_step(model):
    program = model.program_of("encoder", B=1)
    records = program.profile({"mel": np.zeros((1, ODD.n_mels, 82), np.float32)}, repeats=2)
    assert sum(record.calls for record in records) == 2 * len(program.plan.steps)
    by_op = {record.op: record for record in records}
    assert by_op["linear"].flops > 0 and by_op["linear"].gflops_per_second > 0
    assert by_op["attention_packed"].n_bytes > 0
    assert records == sorted(records, key=lambda record: -record.seconds)


def test_calls_from_several_threads_are_correct(model):
    """Two models, four Python threads: each result equals the one computed alone."""
    other = Whisper(RandomCheckpoint(ODD, seed=1), threads=3)
    rng = np.random.default_rng(0)
    mels = [rng.standard_normal((1, ODD.n_mels, 82)).astype(np.float32) for _ in range(4)]
    models = [model, other, model, other]
    expected = [m.encode(mel) for m, mel in zip(models, mels, strict=True)]
    wrong: list[int] = []

    def work(i):
        for _ in range(20):
            if not np.array_equal(models[i].encode(mels[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_idle_workers_use_no_cpu(model):
    model.encode(np.zeros((1, ODD.n_mels, 82), np.float32))

    def cpu_seconds():
        before = time.process_time()
        time.sleep(0.5)
        return time.process_time() - before

    # Workers go to sleep after about a millisecond: of their own time, which a busy machine may give them late.
    assert any(cpu_seconds() < 0.1 for _ in range(20))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_gets_a_team_of_its_own(model):
    mel = np.zeros((1, ODD.n_mels, 82), np.float32)
    expected = model.encode(mel)
    child = os.fork()
    if child == 0:
        same = np.array_equal(model.encode(mel), expected)
        os._exit(0 if same else 1)
    for _ in range(6000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


RUN_A_KERNEL = (
    "import numpy as np; from whisperlite.kernels.rows import gelu_f32;"
    "x = np.full(8, 10, np.float32); a = x.ctypes.data;"
    "gelu_f32(x=a, ldx=0, n_rows=1, n_cols=8, out=a, ldo=0); print(x[0])"
)


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_kernels_are_cached_on_disk(tmp_path):
    first = run_python(RUN_A_KERNEL, WHISPERLITE_CACHE_DIR=str(tmp_path), WHISPERLITE_DEBUG="1")
    again = run_python(RUN_A_KERNEL, WHISPERLITE_CACHE_DIR=str(tmp_path), WHISPERLITE_DEBUG="1")
    assert first.stdout == again.stdout == "10.0\n"
    assert "compiled gelu_f32" in first.stderr and "loaded gelu_f32" in again.stderr


ENTRIES_FROM_MANY_THREADS = """
import threading
from whisperlite import trace
from whisperlite.runtime import team
ready = threading.Barrier(8)
def ask():
    ready.wait()
    for _ in range(50):
        team._entries()
        trace.debug(1, "a line")
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_ask_at_once_load_entries_once_and_say_so_line_by_line():
    lines = run_python(ENTRIES_FROM_MANY_THREADS, WHISPERLITE_DEBUG="1").stderr.splitlines()
    told = [line for line in lines if line != "whisperlite: a line"]
    assert len(lines) - len(told) == 400
    names = [re.fullmatch(r"whisperlite: (?:compiled|loaded) (\w+) in [\d.]+ s", line) for line in told]
    assert [name and name[1] for name in names] == ["run_table", "publish", "serve"]


def test_only_what_is_compiled_is_told_of(tmp_path):
    code = (
        "from whisperlite.trace import compile_listener\n"
        "with compile_listener(lambda name, seconds: print(name, seconds if seconds is None else 'done')):\n"
        f"    {RUN_A_KERNEL}"
    )
    first = run_python(code, WHISPERLITE_CACHE_DIR=str(tmp_path))
    again = run_python(code, WHISPERLITE_CACHE_DIR=str(tmp_path))
    assert first.stdout == "gelu_f32 None\ngelu_f32 done\n10.0\n"
    assert again.stdout == "10.0\n"


@pytest.mark.parametrize("where", ["/proc/no/such/folder", "/dev/null/folder"])
def test_a_cache_folder_that_cannot_be_written_breaks_nothing(where):
    done = run_python(RUN_A_KERNEL, WHISPERLITE_CACHE_DIR=where, WHISPERLITE_DEBUG="1")
    assert done.stdout == "10.0\n" and "no kernel cache" in done.stderr


NUMBAS_CACHE = "from whisperlite.kernels import registry; registry.KEEPS_OBJECTS = False;"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """By code: a cache folder that it filled."""

    @cache
    def fill(code):
        folder = tmp_path_factory.mktemp("kernels")
        run_python(code, WHISPERLITE_CACHE_DIR=str(folder))
        return folder

    return fill


@pytest.mark.parametrize("code", [RUN_A_KERNEL, NUMBAS_CACHE + RUN_A_KERNEL], ids=["objects", "numba"])
@pytest.mark.parametrize("damage", [lambda old: old[:20], lambda old: old[:-9] + bytes(9), lambda old: b""])
def test_a_damaged_cache_breaks_nothing(filled, tmp_path, code, damage):
    shutil.copytree(filled(code), tmp_path, dirs_exist_ok=True)
    damaged = [path for path in tmp_path.rglob("*") if path.suffix in (".o", ".nbi", ".nbc")]
    assert damaged
    for path in damaged:
        path.write_bytes(damage(path.read_bytes()))
    again = run_python(code, WHISPERLITE_CACHE_DIR=str(tmp_path), WHISPERLITE_DEBUG="1")
    assert again.stdout == "10.0\n" and "compiled gelu_f32" in again.stderr
    assert "loaded gelu_f32" in run_python(code, WHISPERLITE_CACHE_DIR=str(tmp_path), WHISPERLITE_DEBUG="1").stderr


@pytest.mark.skipif(not registry.KEEPS_OBJECTS, reason="object files are kept on 64-bit Linux only")
def test_code_that_this_process_cannot_run_is_compiled_anew(filled, tmp_path):
    """LLVM ends the process when object code asks for a symbol that nobody has; so nothing may get that far."""
    shutil.copytree(filled(RUN_A_KERNEL), tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.rglob("*.o")
    code = path.read_bytes()[len(objects.MAGIC) + 32 :].partition(b"\n")[2]
    name = b"numba_gil_ensure"
    assert name.decode() in objects.undefined_symbols(code)
    symbol = path.read_bytes()[len(objects.MAGIC) + 32 :].partition(b"\n")[0].decode()
    objects.save(path, symbol, code.replace(name, b"nowhere_to_be_so"))
    again = run_python(RUN_A_KERNEL, WHISPERLITE_CACHE_DIR=str(tmp_path), WHISPERLITE_DEBUG="1")
    assert again.stdout == "10.0\n" and "nowhere_to_be_so, which this process lacks" in again.stderr


@pytest.mark.skipif(not registry.KEEPS_OBJECTS, reason="object files are kept on 64-bit Linux only")
def test_cached_kernels_load_without_numba(filled):
    code = RUN_A_KERNEL + "; import sys; print('numba' in sys.modules, 'llvmlite.binding' in sys.modules)"
    again = run_python(code, WHISPERLITE_CACHE_DIR=str(filled(RUN_A_KERNEL))).stdout
    assert again == ("10.0\nFalse False\n" if platform.machine() == "x86_64" else "10.0\nFalse True\n")


@pytest.mark.skipif(not registry.KEEPS_OBJECTS, reason="object files are kept on 64-bit Linux only")
def test_llvm_loads_what_is_not_linked_here(filled):
    by_llvm = "from whisperlite.kernels import objects; objects._linked = lambda *rest: None;" + RUN_A_KERNEL
    again = run_python(by_llvm, WHISPERLITE_CACHE_DIR=str(filled(RUN_A_KERNEL)), WHISPERLITE_DEBUG="1")
    assert again.stdout == "10.0\n" and "loaded gelu_f32" in again.stderr


@pytest.mark.skipif(platform.machine() != "x86_64" or not registry.KEEPS_OBJECTS, reason="x86-64 Linux only")
def test_object_code_of_another_kind_is_not_linked_here(filled):
    (path,) = filled(RUN_A_KERNEL).rglob("*.o")
    symbol, _, code = path.read_bytes()[len(objects.MAGIC) + 32 :].partition(b"\n")
    needed = dict.fromkeys(objects.undefined_symbols(code), 4096)
    assert objects._linked(code, symbol.decode(), needed) is not None
    assert objects._linked(code, "another", needed) is None
    assert objects._linked(code[:0x12] + b"\xb7" + code[0x13:], symbol.decode(), needed) is None  # aarch64
    sections_at = int.from_bytes(code[0x28:0x30], "little")
    for i, section in enumerate(objects._sections(code)):
        if section.kind == objects.RELOCATIONS:
            broken = bytearray(code)
            broken[section.offset + 8] = 4  # a distance of 32 bits
            assert objects._linked(bytes(broken), symbol.decode(), needed) is None
        elif section.flags & objects.ALLOCATED and section.size:
            writable = bytearray(code)
            writable[sections_at + 64 * i + 8] |= objects.WRITABLE
            assert objects._linked(bytes(writable), symbol.decode(), needed) is None


@pytest.mark.parametrize(
    "damage",
    [lambda old: b"", lambda old: b"[]", lambda old: b'{"features": 1}', lambda old: old.replace(b'"', b"'")],
)
def test_a_damaged_note_on_the_cpu_is_written_anew(tmp_path, damage):
    code = "from whisperlite.kernels import cpu; print(*cpu.target())"
    first = run_python(code, WHISPERLITE_CACHE_DIR=str(tmp_path)).stdout
    (note,) = tmp_path.glob("cpu-*.json")
    whole = note.read_bytes()
    note.write_bytes(damage(whole))
    assert run_python(code, WHISPERLITE_CACHE_DIR=str(tmp_path)).stdout == first
    assert note.read_bytes() == whole


def test_what_numba_is_told_of_the_cpu_goes_before_the_note(tmp_path):
    code = "from whisperlite.kernels import cpu; print(cpu.vector_width())"
    widths = [
        run_python(code, WHISPERLITE_CACHE_DIR=str(tmp_path), **told).stdout
        for told in ({}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, {})
    ]
    assert widths[1] == "4\n" and widths[0] == widths[2]


def test_the_cache_folder_changes_with_any_kernel_source(monkeypatch, tmp_path):
    monkeypatch.setenv("WHISPERLITE_CACHE_DIR", str(tmp_path))
    registry.cache_folder.cache_clear()
    one_target = cpu.target()
    try:
        one = registry.cache_folder()
        monkeypatch.setattr(cpu, "target", lambda: one_target._replace(compiler="another"))
        registry.cache_folder.cache_clear()
        assert one != registry.cache_folder()
    finally:
        registry.cache_folder.cache_clear()


DAY = 24 * 3600


def aged(path, days, is_folder=True):
    """A path last changed so many days ago; a folder holds a file and a folder with one."""
    if is_folder:
        (path / "inner").mkdir(parents=True)
        for file in (path / "rows.gelu_f32.o", path / "inner" / "gelu.nbi"):
            file.write_bytes(b"code")
    else:
        path.write_bytes(b"")
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_a_compilation_removes_folders_of_kernels_that_nothing_used_for_a_month(tmp_path):
    old = [aged(tmp_path / f"kernels-{digit * 16}", 31) for digit in "3f"]
    kept = [aged(tmp_path / "kernels-0123456789abcdef", 29)]
    kept += [
        aged(tmp_path / name, 400) for name in ("kernels-of-mine", "xkernels-0123456789abcdef", "vocabularies")
    ]
    kept.append(aged(tmp_path / "kernels-aaaaaaaaaaaaaaaa", 400, is_folder=False))
    first = run_python(RUN_A_KERNEL, WHISPERLITE_CACHE_DIR=str(tmp_path), WHISPERLITE_DEBUG="1")
    assert first.stderr.count("removed") == 2 and not any(path.exists() for path in old)
    assert all(path.exists() for path in kept)
    assert all((path / "inner" / "gelu.nbi").exists() for path in kept if path.is_dir())
    assert (
        "loaded gelu_f32"
        in run_python(RUN_A_KERNEL, WHISPERLITE_CACHE_DIR=str(tmp_path), WHISPERLITE_DEBUG="1").stderr
    )


def test_a_start_that_compiles_nothing_marks_its_folder_and_removes_none(filled, tmp_path):
    shutil.copytree(filled(RUN_A_KERNEL), tmp_path, dirs_exist_ok=True)
    (used,) = tmp_path.glob("kernels-*")
    os.utime(used, (time.time() - 400 * DAY,) * 2)
    old = aged(tmp_path / "kernels-0123456789abcdef", 400)
    started = time.time()
    run_python(RUN_A_KERNEL, WHISPERLITE_CACHE_DIR=str(tmp_path))
    assert used.stat().st_mtime > started - 2 and old.exists()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_CACHE_DIR", str(tmp_path / "cache"))
    registry.cache_folder.cache_clear()
    yield tmp_path / "cache"
    registry.cache_folder.cache_clear()


def test_a_process_keeps_its_own_kernels_however_old(empty_cache):
    current = registry.cache_folder()
    (current / "code.o").write_bytes(b"code")
    os.utime(current, (time.time() - 400 * DAY,) * 2)
    old = aged(empty_cache / "kernels-0123456789abcdef", 400)
    registry._remove_unused_folders()
    assert (current / "code.o").exists() and not old.exists()


def test_old_kernels_behind_a_link_stay(empty_cache, tmp_path):
    elsewhere = aged(tmp_path / "elsewhere", 400)
    registry.cache_folder()
    link = empty_cache / "kernels-0123456789abcdef"
    link.symlink_to(elsewhere)
    os.utime(link, (time.time() - 400 * DAY,) * 2, follow_symlinks=False)
    registry._remove_unused_folders()
    assert link.is_symlink() and (elsewhere / "rows.gelu_f32.o").exists()


def test_several_may_remove_old_kernels_at_once(empty_cache):
    current = registry.cache_folder()
    for i in range(40):
        aged(empty_cache / f"kernels-{i:016x}", 31)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(registry._remove_unused_folders) for _ in range(4)]:
            done.result()
    assert list(empty_cache.glob("kernels-*")) == [current]


def test_old_kernels_that_cannot_be_removed_stay(empty_cache, monkeypatch):
    registry.cache_folder()
    old = aged(empty_cache / "kernels-0123456789abcdef", 400)

    def refuse(*arguments, **options):
        raise PermissionError("not yours")

    for name in ("unlink", "rmdir", "utime"):
        monkeypatch.setattr(os, name, refuse)
    registry._remove_unused_folders()
    assert (old / "rows.gelu_f32.o").exists()
    registry.cache_folder.cache_clear()
    assert registry.cache_folder() is not None  # which cannot be marked either


LOGITS = """
import sys
sys.path.insert(0, "tests")
import numpy as np
from tiny_checkpoint import EVEN, RandomCheckpoint
from whisperlite.kernels import cpu
from whisperlite.model import Whisper
print(cpu.vector_width())
for compute_type in ("float32", "bfloat16", "int8"):
    model = Whisper(RandomCheckpoint(EVEN), compute_type, threads=1)
    cross = model.cross_kv(model.encode(np.ones((1, 13, 82), np.float32)))
    print(*model.prefill([[1, 2, 3]], model.new_cache(1), cross)[0, 0, :8].tolist())
"""
CPUS = {
    "host": {},
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c"},
    "generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}


@pytest.fixture(scope="module")
def logits_by_cpu():
    """Lanes of a vector, and logits by compute type: for this CPU, and as Numba's own switches ask."""
    found = {}
    for name, switches in CPUS.items():
        width, *lines = run_python(LOGITS, **switches, WHISPERLITE_BF16="widen").stdout.splitlines()
        values = [np.array(line.split(), np.float64) for line in lines]
        found[name] = int(width), dict(zip(("float32", "bfloat16", "int8"), values, strict=True))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("compute_type", ["float32", "bfloat16", "int8"])
def test_narrower_instruction_sets_give_the_same_model(compute_type, logits_by_cpu):
    host = logits_by_cpu["host"][1][compute_type]
    assert {name: width for name, (width, _) in logits_by_cpu.items() if name != "host"} == {
        "AVX2": 8,
        "generic": 4,
    }
    for _, logits in logits_by_cpu.values():
        # Where weights are rounded, cross keys and values are float16 on CPUs that have it; and the rounding of
        # activations to bytes turns on the last bit of a float.
        tolerance = {"float32": 2e-5, "bfloat16": 1e-3, "int8": 2e-2}[compute_type]
        np.testing.assert_allclose(logits[compute_type], host, atol=tolerance)


def test_no_two_compiled_functions_share_a_name():
    """Cached machine code is told apart by qualified names: of two alike, one would run in the other's place."""
    code = (
        "import gc, pkgutil, importlib, whisperlite.kernels as k, collections\n"
        "for m in pkgutil.iter_modules(k.__path__): importlib.import_module('whisperlite.kernels.' + m.name)\n"
        "k.compiler.load()\n"
        "from numba.core.dispatcher import Dispatcher\n"
        "functions = {o.py_func for o in gc.get_objects() if isinstance(o, Dispatcher)}\n"
        "ours = [f for f in functions if f.__module__.startswith('whisperlite')]\n"
        "names = collections.Counter((f.__module__, f.__qualname__) for f in ours)\n"
        "print(len(ours), [name for name, n in names.items() if n > 1])"
    )
    count, doubles = run_python(code).stdout.split(maxsplit=1)
    assert int(count) > 40
    assert doubles.strip() == "[]"


@pytest.mark.slow
def test_kernels_cached_by_different_processes_stay_apart(tmp_path):
    """Each process numbers what it compiles from 1: the same numbers must not mean the same code."""
    compile_one = "from whisperlite.kernels import matmul; matmul.{}.address()"
    cache = str(tmp_path)
    for name in ("matmul_f32", "matmul_f16"):
        run_python(compile_one.format(name), WHISPERLITE_CACHE_DIR=cache)
    code = (
        "import numpy as np; from whisperlite.kernels import matmul;"
        "from whisperlite.runtime.panels import pack_f16, pack_f32, aligned;"
        "w = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float16); a = aligned((40, 128));"
        "a[...] = 1; c = aligned((2, 40, 64));"
        "[kernel(a=a.ctypes.data, a_batch=0, lda=512, n_batch=1, n_rows=40, taps=1, tap_stride=0, n_in=128,"
        "panels=p.ctypes.data, n_panels=2, c=o.ctypes.data, c_batch=0, ldc=256, bias=0, residual=0,"
        "residual_batch=0, ldr=0, activation=0) for kernel, p, o in ((matmul.matmul_f32, pack_f32(w), c[0]),"
        "(matmul.matmul_f16, pack_f16(w), c[1]))];"
        "print((c[0] == c[1]).all())"
    )
    assert run_python(code, WHISPERLITE_CACHE_DIR=cache).stdout.strip() == "True"


def test_everything_runs_where_numba_cannot_be_imported():
    code = (
        "import sys; sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
        "import whisperlite\n"
        "print(whisperlite.WhisperModel('nano').transcribe(whisperlite.demo_audio()).text)"
    )
    assert "Hotel one left three kilo" in run_python(code).stdout
