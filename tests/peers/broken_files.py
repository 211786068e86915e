"""Configuration that cannot work: every finding has its place, the exit code says which kind of failure it is."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path

from harness import ROOT, Run, command, shown, start

PLACE = re.compile(r"^(\S+?\.(?:toml|csv)):(\d+):(\d+): (error|warning)\[([a-z0-9-]+)\]: (.+)$", re.M)


def site(run: Run, name: str) -> Path:
    """A copy of the shipped files, to be broken."""
    files = run.directory(name)
    for folder in ("config", "mappings"):
        shutil.copytree(ROOT / folder, files / folder, dirs_exist_ok=True)
    return files


def broken(run: Run, name: str, file: str, changes: list[tuple[str, str]]) -> tuple[Path, list[int]]:
    """Replace text in one file; the line numbers at which it was replaced."""
    files = site(run, name)
    path = files / file
    text = path.read_text()
    lines = []
    for old, new in changes:
        if old not in text:
            run.check(f"{file} has the text {old!r} that this script breaks", False)
            continue
        lines.append(text[: text.index(old)].count("\n") + 1)
        text = text.replace(old, new, 1)
    path.write_text(text)
    return files, lines


def findings(text: str) -> list[tuple[str, int, int, str]]:
    return [(Path(m[0]).name, int(m[1]), int(m[2]), m[3]) for m in PLACE.findall(text)]


def both(run: Run, what: str, files: Path, file: str, lines: list[int]) -> None:
    """`check` finds it and exits 2; `run` refuses it and exits 64; both name every place."""
    state = run.directory("state")
    free = {f"HEATGATE__{part}__LISTEN": "127.0.0.1:0" for part in ("MODBUS", "BACNET", "HTTP")} | {
        "HEATGATE__STATE_DIR": str(state)
    }
    for verb, code in (("check", 2), ("run", 64)):
        got, out, err = command([run.binary, verb, "-c", "config/demo.toml"], env=free, cwd=files)
        run.equal(f"{what}: {verb} exits with {code}", got, code)
        errors = [row for row in findings(out + "\n" + err) if row[3] == "error"]
        places = {(name, line) for name, line, column, _ in errors if column >= 1}
        missing = [line for line in lines if (Path(file).name, line) not in places]
        run.check(
            f"{what}: {verb} names file, line and column of each",
            not missing and errors,
            errors if not missing else f"missing lines {missing} in {errors or (out + err)[:300]}",
        )
        run.check(f"{what}: {verb} gives a hint", "help: " in out + err)
    got, out, err = command([run.binary, "check", "--json", "-c", "config/demo.toml"], cwd=files)
    try:
        rows = json.loads(out)
    except json.JSONDecodeError as error:
        run.check(f"{what}: check --json prints JSON", False, f"{error}: {out[:200]!r} {err[:200]!r}")
        return
    run.check(
        f"{what}: check --json exits with 2 and names the lines",
        got == 2 and all(str(line) in out for line in lines),
        rows if got != 2 else "",
    )


def main(run: Run) -> None:
    good = site(run, "good")
    got, out, err = command([run.binary, "check", "-c", "config/demo.toml"], cwd=good)
    run.check("the shipped demonstration is clean: check exits with 0", got == 0, "" if got == 0 else out + err)

    mapping = "mappings/demo.toml"
    files, lines = broken(
        run,
        "three-mistakes",
        mapping,
        [
            ('heaters = ["rack-a", "rack-b"]', 'heaters = ["rack-a", "rack-z"]'),
            ("unit_id = 1", "unit_idd = 1"),
            ('rated_power = "30 kW"', 'rated_power = "30 lbs"'),
        ],
    )
    both(run, "three mistakes in one mapping", files, mapping, lines)
    files, lines = broken(run, "syntax", mapping, [("[[zone]]", "[[zone]")])
    both(run, "a mapping that is no TOML", files, mapping, lines)
    files, lines = broken(run, "no-profile", mapping, [('profile = "generic-heat-meter"', 'profile = "no-such-meter"')])
    both(run, "a profile that is not there", files, mapping, lines)
    face = "mappings/digital-boiler.toml"
    files, lines = broken(run, "overlap", face, [("{ holding = 1, type", "{ holding = 0, type")])
    both(run, "two points at one register", files, face, [])
    profile = "mappings/profiles/generic-heat-meter.toml"
    files, lines = broken(run, "example", profile, [("value = 52.3", "value = 53.2")])
    both(run, "a worked example that does not come out", files, profile, lines)

    config = "config/demo.toml"
    files = site(run, "config-key")
    text = (files / config).read_text()
    (files / config).write_text(text + "\n[modbuss]\nlisten = 1\n")
    both(run, "an unknown section in the configuration", files, config, [text.count("\n") + 2])
    files = site(run, "config-syntax")
    (files / config).write_text("[site\n")
    both(run, "a configuration that is no TOML", files, config, [1])

    empty = run.directory("empty")
    for verb, code in (("check", 1), ("run", 64)):
        got, out, err = command([run.binary, verb, "-c", "config/nowhere.toml"], cwd=empty)
        run.check(
            f"a configuration that is not there: {verb} exits with {code} and names it",
            got == code and "nowhere.toml" in out + err,
            f"exit {got}: {(out + err)[:200].strip()}",
        )
    files = site(run, "environment")
    got, out, err = command(
        [run.binary, "run", "-c", config], env={"HEATGATE__MODBUS__LISTEN": "not an address"}, cwd=files
    )
    run.check(
        "an override that cannot be read: run exits with 64 and names it",
        got == 64 and "MODBUS" in (out + err).upper(),
        f"exit {got}: {(out + err)[:200].strip()}",
    )

    for what, args in (
        ("no command", []),
        ("an unknown command", ["fly"]),
        ("an unknown option", ["demo", "--bogus"]),
        ("a speed that is no number", ["demo", "--speed", "fast"]),
        ("a speed of 0", ["demo", "--speed", "0"]),
        ("a part that is not there", ["demo", "--without", "roof"]),
        ("an address that is none", ["demo", "--modbus", "here"]),
    ):
        got, _, err = command([run.binary, *args])
        run.check(f"wrong usage exits with 64: {what}", got == 64 and err, f"exit {got}")
    for args in (
        ["--help"],
        ["--version"],
        ["demo", "--help"],
        ["run", "--help"],
        ["check", "--help"],
        ["sim", "--help"],
        ["sim", "heater", "--help"],
    ):
        got, out, _ = command([run.binary, *args])
        run.check(f"heatgate {' '.join(args)} exits with 0", got == 0 and out, f"exit {got}")

    # A port that somebody else has.
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        taken = {"tcp": shown(tcp.getsockname()), "udp": shown(udp.getsockname())}
        for part, kind in (("modbus", "tcp"), ("http", "tcp"), ("bacnet", "udp")):
            env = {f"HEATGATE__{other.upper()}__LISTEN": "127.0.0.1:0" for other in ("modbus", "http", "bacnet")}
            env |= {
                f"HEATGATE__{part.upper()}__LISTEN": taken[kind],
                "HEATGATE__STATE_DIR": str(run.directory(f"state-{part}")),
            }
            got, out, err = command([run.binary, "run", "-c", config], env=env, cwd=good)
            run.check(
                f"run with a taken {part} port exits with 1 and names {part}.listen",
                got == 1 and f"{part}.listen" in out + err and taken[kind] in out + err,
                f"exit {got}: {err[-200:].strip()}",
            )
        for part, kind in (("modbus", "tcp"), ("http", "tcp"), ("bacnet", "udp"), ("broker", "tcp"), ("meter", "tcp")):
            args = ["demo", "--for", "5s", "--state-dir", str(run.directory(f"demo-{part}"))]
            for other in ("modbus", "http", "bacnet", "broker", "meter"):
                args += [f"--{other}", taken[kind] if other == part else "127.0.0.1:0"]
            got, out, err = command([run.binary, *args])
            run.check(
                f"demo with a taken {part} port exits with 1 and names --{part}",
                got == 1 and f"--{part}" in err and taken[kind] in err,
                f"exit {got}: {err[-200:].strip()}",
            )


start(main)
