use super::*;

#[test]
fn every_shipped_site_compiles_without_a_finding() {
    for root in ["demo.toml", "example-site.toml"] {
        let compiled = compile(root, &BuiltinFiles);
        let text: Vec<String> = compiled.findings.iter().map(ToString::to_string).collect();
        assert!(compiled.plant.is_some(), "{}", text.join("\n"));
        assert!(text.is_empty(), "{}", text.join("\n"));
    }
}
