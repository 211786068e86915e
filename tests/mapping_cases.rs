//! Broken mappings: each directory of tests/cases/mapping holds a `site.toml` (and what it refers to) and the findings
//! that it must give, word for word. `BLESS=1 cargo test --test mapping_cases` writes what is given now.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use heatgate::mapping::{Files, compile};

struct Directory(PathBuf);

impl Files for Directory {
    fn read(&self, name: &str) -> Result<String, String> {
        // The system's own words differ between systems.
        std::fs::read_to_string(self.0.join(name)).map_err(|_| "no such file".to_owned())
    }
}

fn findings(case: &Path) -> String {
    let compiled = compile("site.toml", &Directory(case.to_path_buf()));
    let mut text = String::new();
    for finding in &compiled.findings {
        writeln!(text, "{finding}\n").unwrap();
    }
    writeln!(text, "{}", if compiled.plant.is_some() { "a plant" } else { "no plant" }).unwrap();
    text
}

#[test]
fn every_case_gives_exactly_its_findings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/mapping");
    let mut wrong = String::new();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 12, "the cases are not where they should be");
    for case in cases {
        let file = case.join("expected.txt");
        let found = findings(&case);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if found != expected {
            writeln!(wrong, "== {} gives\n{found}== instead of\n{expected}", case.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
