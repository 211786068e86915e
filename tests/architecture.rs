//! The import table of ARCHITECTURE.md, held: which room may name which, and which words a pure room must not know.
//! Reads every source file as Rust tokens (tests left out) and reports file and line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One room: what of ours it may name, and which words (identifiers anywhere in its code) it must not.
struct Rule {
    room: &'static str,
    may_use: &'static [&'static str],
    must_not_name: &'static [&'static str],
}

const VOCABULARY: &[&str] = &["units", "time", "point", "plant", "request", "decision", "diagnostic", "durable"];
const CLOCKS: &[&str] = &["Instant", "SystemTime"];
const OUTSIDE: &[&str] = &["tokio", "net", "fs", "tracing", "axum", "rusqlite"];
const PROTOCOLS: &[&str] = &["modbus", "bacnet", "mqtt", "rumqttc", "tokio_modbus", "Modbus", "Bacnet", "Mqtt"];
const VENDORS: &[&str] = &[
    "tokio_modbus",
    "tokio_serial",
    "rumqttc",
    "bacnet_types",
    "bacnet_encoding",
    "bacnet_services",
    "bacnet_npdu",
    "bacnet_bip_core",
    "bacnet_client",
    "bacnet_transport",
    "rusqlite",
    "axum",
    "maud",
    "clap",
];

macro_rules! rules {
    ($($room:literal: [$($may:expr),*], [$($not:expr),*];)*) => {
        &[$(Rule { room: $room, may_use: &[$($may),*], must_not_name: &[$($not),*] },)*]
    };
}

/// A name that stands for a list.
fn expand(names: &[&'static str]) -> BTreeSet<&'static str> {
    names
        .iter()
        .flat_map(|name| match *name {
            "VOCABULARY" => VOCABULARY.to_vec(),
            "CLOCKS" => CLOCKS.to_vec(),
            "OUTSIDE" => OUTSIDE.to_vec(),
            "PROTOCOLS" => PROTOCOLS.to_vec(),
            "PORTS" => vec!["ports", "telemetry"],
            other => vec![other],
        })
        .collect()
}

/// The table. Every room is listed; a room that is not is a failure.
#[rustfmt::skip]
const RULES: &[Rule] = rules! {
    "units": [], ["CLOCKS", "OUTSIDE"];
    "time": [], ["CLOCKS", "OUTSIDE"];
    "point": ["units", "time"], ["CLOCKS", "OUTSIDE"];
    "plant": ["units", "time", "point"], ["CLOCKS", "OUTSIDE"];
    "request": ["units", "time", "point", "plant"], ["CLOCKS", "OUTSIDE"];
    "decision": ["units", "time", "point", "plant", "request"], ["CLOCKS", "OUTSIDE"];
    "diagnostic": [], ["CLOCKS", "OUTSIDE"];
    "durable": ["units", "time", "point", "decision"], ["CLOCKS", "OUTSIDE"];
    "telemetry": [], ["CLOCKS", "tokio", "net", "fs"];
    "ports": ["VOCABULARY", "telemetry"], ["CLOCKS", "net", "fs"];
    "written": ["units", "diagnostic"], ["CLOCKS", "OUTSIDE", "PROTOCOLS"];
    "mapping": ["VOCABULARY", "written"], ["CLOCKS", "OUTSIDE"];
    "config": ["VOCABULARY", "written"], ["CLOCKS", "tokio", "fs", "tracing"];
    "control": ["VOCABULARY"], ["CLOCKS", "OUTSIDE", "PROTOCOLS"];
    "meter": ["VOCABULARY"], ["CLOCKS", "OUTSIDE", "PROTOCOLS"];
    "engine": ["VOCABULARY", "mapping", "control", "meter"], ["CLOCKS", "OUTSIDE"];
    "trace": ["VOCABULARY", "mapping", "control", "engine"], ["CLOCKS", "OUTSIDE"];
    "modbus": ["VOCABULARY", "mapping", "PORTS"], ["CLOCKS", "fs"];
    "bacnet": ["VOCABULARY", "mapping", "PORTS"], ["CLOCKS", "fs"];
    "mqtt": ["VOCABULARY", "mapping", "PORTS"], ["CLOCKS", "fs"];
    "store": ["VOCABULARY", "meter", "PORTS"], ["CLOCKS", "net"];
    "web": ["VOCABULARY", "mapping", "PORTS"], ["CLOCKS", "fs"];
    "sim": ["VOCABULARY", "PORTS"], ["CLOCKS", "fs"];
    "simulate": ["VOCABULARY", "mapping", "control", "engine", "sim"], ["CLOCKS", "OUTSIDE"];
    "gateway": ["VOCABULARY", "PORTS", "mapping", "config", "control", "meter", "engine", "trace", "modbus", "bacnet", "mqtt", "store", "web"], [];
    "cli": ["VOCABULARY", "PORTS", "mapping", "config", "control", "meter", "engine", "trace", "modbus", "bacnet", "mqtt", "store", "web", "gateway", "sim", "simulate"], ["CLOCKS"];
    "main": ["cli"], ["CLOCKS", "OUTSIDE"];
    "lib": ["VOCABULARY"], [];
};

/// Where a vendor crate may be named.
fn vendor_home(vendor: &str) -> &'static [&'static str] {
    match vendor {
        "tokio_modbus" | "tokio_serial" => &["modbus", "sim"],
        "rumqttc" => &["mqtt", "sim"],
        "rusqlite" => &["store"],
        "axum" => &["web", "gateway"],
        "maud" => &["web"],
        "clap" => &["cli"],
        _ => &["bacnet", "sim"],
    }
}

/// One identifier with what stands around it.
struct Word {
    text: String,
    line: usize,
    /// `crate::` stands before it, or before the braces it is directly in.
    of_crate: bool,
    /// It begins a path or stands alone: no `::` before it.
    first: bool,
    /// A `::` follows.
    heads_path: bool,
}

/// Identifiers of the code, without items under `#[cfg(test)]`.
fn words(stream: TokenStream, inside_crate: bool, found: &mut Vec<Word>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let punct = |at: Option<usize>, wanted: char| matches!(at.and_then(|at| tokens.get(at)), Some(TokenTree::Punct(p)) if p.as_char() == wanted);
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        if is_test_attribute(&tokens, i) {
            i = after_item(&tokens, i);
            continue;
        }
        let path_before = punct(i.checked_sub(1), ':') && punct(i.checked_sub(2), ':');
        let root = i.checked_sub(3).and_then(|at| tokens.get(at)).map(ToString::to_string);
        let after_crate = path_before && root.as_deref() == Some("crate");
        match token {
            TokenTree::Ident(ident) => {
                let entry = inside_crate && (i == 0 || punct(i.checked_sub(1), ','));
                found.push(Word {
                    text: ident.to_string(),
                    line: ident.span().start().line,
                    of_crate: after_crate || entry,
                    first: !path_before && !entry,
                    heads_path: punct(Some(i + 1), ':') && punct(Some(i + 2), ':'),
                });
            }
            TokenTree::Group(group) => {
                words(group.stream(), after_crate && group.delimiter() == Delimiter::Brace, found);
            }
            _ => {}
        }
        i += 1;
    }
}

/// `#[cfg(test)]` begins here.
fn is_test_attribute(tokens: &[TokenTree], at: usize) -> bool {
    let hash = matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == '#');
    hash && matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
        if group.to_string().replace(' ', "").starts_with("[cfg(test"))
}

/// The place after the item that an attribute at `at` belongs to: a brace group or a semicolon ends it.
fn after_item(tokens: &[TokenTree], at: usize) -> usize {
    let mut i = at + 2;
    while let Some(token) = tokens.get(i) {
        i += 1;
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return i,
            TokenTree::Punct(p) if p.as_char() == ';' => return i,
            _ => {}
        }
    }
    i
}

fn room_of(path: &Path, src: &Path) -> String {
    let relative = path.strip_prefix(src).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// A file that holds only tests or what tests need, by its name.
fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    name == "tests"
        || name == "testing"
        || name.ends_with("_tests")
        || path.components().any(|c| c.as_os_str() == "tests")
}

fn findings(text: &str, name: &str, room: &str) -> Vec<String> {
    let Some(rule) = RULES.iter().find(|rule| rule.room == room) else {
        return vec![format!("{name}: room `{room}` is not in the table")];
    };
    let may = expand(rule.may_use);
    let not = expand(rule.must_not_name);
    let rooms: BTreeSet<_> = RULES.iter().map(|rule| rule.room).collect();
    let mut list = Vec::new();
    words(text.parse().expect("the compiler has accepted it"), false, &mut list);
    let mut out = Vec::new();
    for word in list {
        let text = word.text.as_str();
        let place = format!("{name}:{}", word.line);
        if word.of_crate && text != room && rooms.contains(text) && !may.contains(text) {
            out.push(format!("{place}: `{room}` may not use `crate::{text}`"));
        }
        if not.contains(text) && text != room && (word.heads_path || PROTOCOLS.contains(&text)) {
            out.push(format!("{place}: `{room}` must not name `{text}`"));
        }
        if word.first && word.heads_path && VENDORS.contains(&text) && !vendor_home(text).contains(&room) {
            out.push(format!("{place}: `{text}` may not leave {:?}", vendor_home(text)));
        }
        if room == "gateway" && CLOCKS.contains(&text) && word.heads_path && !name.ends_with("gateway/clock.rs") {
            out.push(format!("{place}: only gateway/clock.rs reads a clock"));
        }
    }
    out
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_room_keeps_to_the_table() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20, "the sources are found");
    let mut report = String::new();
    for file in files.iter().filter(|file| !is_test_file(file)) {
        let text = std::fs::read_to_string(file).unwrap();
        let name = format!("src/{}", file.strip_prefix(&src).unwrap().display());
        for finding in findings(&text, &name, &room_of(file, &src)) {
            writeln!(report, "{finding}").unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn planted_violations_are_found() {
    for (room, code, expected) in [
        ("control", "use crate::engine::Engine;", "x.rs:1: `control` may not use `crate::engine`"),
        ("control", "\nuse crate::{point::Image, modbus};", "x.rs:2: `control` may not use `crate::modbus`"),
        ("control", "fn f() { tokio::spawn(async {}); }", "x.rs:1: `control` must not name `tokio`"),
        ("control", "struct ModbusX; struct Modbus;", "x.rs:1: `control` must not name `Modbus`"),
        ("units", "fn f() { std::fs::read(\"x\"); }", "x.rs:1: `units` must not name `fs`"),
        ("engine", "fn f() { crate::bacnet::x(); }", "x.rs:1: `engine` may not use `crate::bacnet`"),
        ("engine", "fn f() { let _ = std::time::Instant::now(); }", "x.rs:1: `engine` must not name `Instant`"),
        ("web", "use crate::{units::Watts, gateway::Gateway};", "x.rs:1: `web` may not use `crate::gateway`"),
        ("modbus", "use rumqttc::Client;", "x.rs:1: `rumqttc` may not leave [\"mqtt\", \"sim\"]"),
        ("gateway", "fn f() { Instant::now(); }", "x.rs:1: only gateway/clock.rs reads a clock"),
        ("attic", "", "x.rs: room `attic` is not in the table"),
    ] {
        let found = findings(code, "x.rs", room);
        assert!(found.iter().any(|finding| finding == expected), "{room}: {code}: {found:?}");
    }
    let allowed = "use crate::point::{Image, Value};\n#[cfg(test)]\nmod tests { use crate::engine::Engine; }\n#[cfg(test)] mod t;";
    assert_eq!(findings(allowed, "x.rs", "control"), Vec::<String>::new());
}
