"""A recorded demo replays to the same decisions, byte for byte; a changed one is found; a day of it tells eta, theta, tau."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bms_face import STATE, Face
from demo_site import Demo
from harness import Run, command, python_version, start


def main(run: Run) -> None:
    run.peer("pymodbus", python_version("pymodbus"), "reads the state of a demo that can record nothing")
    demo = Demo(run, "--for", "60s")
    code = demo.process.wait_exit(120.0)
    run.equal("the demo exits with 0", code, 0)
    state = run.directory("demo-state")
    traces = sorted((state / "trace").glob("*.trace"))
    run.equal("one segment was recorded", len(traces), 1)
    trace = traces[0]
    text = trace.read_text()
    run.note(f"{len(text)} bytes, {text.count(chr(10) + 'd ')} decisions in an hour of site time")

    def replay(path: Path) -> tuple[int, dict]:
        code, out, err = command([run.binary, "replay", "--json", path], bound=60.0)
        return code, json.loads(out) if out.strip() else {"error": err}

    for path in (trace, state / "trace", state):
        code, found = replay(path)
        run.check(
            f"the replay of {path.name} is identical",
            code == 0 and found.get("identical") is True and found.get("gap") is None and found["decisions"] > 300,
            found,
        )

    # One decision of the record is another: the replay finds exactly that one.
    lines = text.splitlines(keepends=True)
    decided = [n for n, line in enumerate(lines) if line.startswith("d ")]
    victim = decided[len(decided) // 2]
    words = lines[victim].split(" ")
    words[1] = "0" * 16
    changed = run.directory("changed") / trace.name
    changed.write_text("".join(lines[:victim] + [" ".join(words)] + lines[victim + 1 :]))
    code, found = replay(changed)
    run.check("a changed decision is found", code == 2 and not found["identical"], found)
    run.equal("in its line", found["difference"]["line"], victim + 1)

    # One reading of the record is another: some decision after it is.
    heat = next(n for n, line in enumerate(lines) if n > len(lines) // 4 and line.startswith("q "))
    other = run.directory("other") / trace.name
    other.write_text("".join(lines[:heat] + lines[heat + 1 :]))
    code, found = replay(other)
    run.check("a request that is missing is found", code == 2 and not found["identical"], found)

    # Cut off in the middle of a line, as a power cut does.
    cut = run.directory("cut") / trace.name
    cut.write_text(text[: int(len(text) * 0.7)].rstrip("\n"))
    code, found = replay(cut)
    run.check("a trace that is cut off replays as far as it goes", code == 0 and found["identical"], found)

    for name, junk in (("empty", b""), ("junk", bytes(range(256)) * 40), ("version", b'{"heatgate_trace":99}\n')):
        bad = run.directory(name) / "x.trace"
        bad.write_bytes(junk)
        code, out, err = command([run.binary, "replay", bad], bound=30.0)
        run.check(f"{name}: refused in a sentence", code == 1 and err.startswith("heatgate: ") and "panic" not in err, err)

    code, out, err = command([run.binary, "tune", "--json", "--html", run.directory("tune") / "t.html", state], bound=60.0)
    run.equal("tune exits with 0", code, 0)
    zone = json.loads(out)["zones"][0]
    run.check("the demo's efficiency 0.88 is found", abs(zone["eta"] - 0.88) < 0.01, zone)
    run.check("its delay of 60 s is found", abs(zone["theta_s"] - 60) < 20, zone)
    run.check("its lag of 240 s is found", abs(zone["tau_s"] / 240 - 1) < 0.15, zone)
    page = (run.directory("tune") / "t.html").read_text()
    run.check("its report holds its plots", page.count("<svg") == 2 and "http://" not in page.replace("http://www.w3.org/2000/svg", ""))

    # A disk that takes no trace: the demo serves all the same.
    blocked = run.directory("blocked-state")
    shutil.rmtree(blocked / "trace", ignore_errors=True)
    (blocked / "trace").write_text("a file stands where the directory should be")
    demo = Demo(run, "--for", "15s", name="blocked")
    with Face(demo.modbus) as face:
        run.check("it is served while no trace can be written", 1 <= face.inputs(STATE)[0] <= 10)
    run.equal("and exits with 0", demo.process.wait_exit(60.0), 0)


start(main)
