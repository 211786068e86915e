//! `heatgate check`: configuration and mappings compiled without any network; every finding with file, line and column.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::load::{Examined, environment, examine};
use crate::bacnet::expiry;
use crate::config::Config;
use crate::diagnostic::{Diagnostic, Severity};
use crate::gateway::bacnet_tls;
use crate::gateway::clock::SystemClock;
use crate::plant::Plant;
use crate::time::{TimeSource as _, Utc};

/// Compile configuration and mappings, and name everything that is wrong.
#[derive(Debug, clap::Args)]
#[command(
    about = "Check configuration and mappings without any network",
    after_help = "Example:\n  heatgate check -c config/gateway.toml\n\nExit: 0 fine (there may be warnings), 1 the configuration cannot be read, 2 something is wrong."
)]
pub struct Args {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "config/gateway.toml")]
    pub config: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Run it, printing to standard output; the exit code.
pub fn run(args: &Args) -> u8 {
    let mut out = io::stdout().lock();
    let colour = !args.json && out.is_terminal();
    // A closed pipe is no finding.
    check(&args.config, args.json, colour, &environment(), &mut out).unwrap_or(1)
}

/// Check a configuration file and the mapping that it names, and write what was found; the exit code.
///
/// # Errors
/// Only where `out` cannot be written.
pub fn check(config: &Path, json: bool, colour: bool, env: &[(String, String)], out: &mut dyn Write) -> io::Result<u8> {
    let mut examined = examine(Some(config), env);
    if let Some(config) = &examined.config {
        examined.findings.extend(certificates(config));
    }
    let errors = examined.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if json {
        as_json(&examined, errors, out)?;
    } else {
        as_text(&examined, errors, colour, out)?;
    }
    Ok(match (examined.unreadable, errors) {
        (true, _) => 1,
        (false, 0) => 0,
        (false, _) => 2,
    })
}

/// What is wrong with the files of the BACnet/SC port, and what will be within a month.
fn certificates(config: &Config) -> Vec<Diagnostic> {
    const MONTH: i64 = 30 * 86_400_000;
    let Some(port) = config.bacnet.secure.as_ref().filter(|_| config.bacnet.enabled) else { return Vec::new() };
    let finding = |code, severity, message: String, help: &str| Diagnostic {
        code,
        severity,
        place: None,
        message,
        help: help.to_owned(),
    };
    if let Err((file, why)) = bacnet_tls(port) {
        let help = "[bacnet.sc] names it: certificate and key belong together, authorities are the site's; all PEM";
        let message = format!("{} cannot be used: {why}", file.display());
        return vec![finding("bad-certificate", Severity::Error, message, help)];
    }
    let Ok(clock) = SystemClock::new(1.0) else { return Vec::new() };
    let (now, soon) = (clock.now().utc, Utc::from_millis(clock.now().utc.millis() + MONTH));
    let files = [&port.files.certificate, &port.files.authorities];
    let ends = files.map(|file| (file, std::fs::read(file).ok().and_then(|pem| expiry(&pem))));
    let mut findings = Vec::new();
    for (file, end) in ends.iter().filter_map(|(file, end)| Some((file, (*end)?))) {
        let [year, month, day, hour, minute, second] = end;
        let Some(end) = Utc::parse(&format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")) else {
            continue;
        };
        let help = "have it renewed by who issued it, [bacnet.sc] names the file";
        if end <= now {
            let message = format!("{} is valid no longer: it ended at {end}", file.display());
            findings.push(finding("expired", Severity::Error, message, help));
        } else if end <= soon {
            let message = format!("{} is valid until {end} only", file.display());
            findings.push(finding("expired", Severity::Warning, message, help));
        }
    }
    findings
}

fn as_text(examined: &Examined, errors: usize, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    for finding in &examined.findings {
        let text = finding.to_string();
        if colour {
            let word = finding.severity.as_str();
            let code = if finding.severity == Severity::Error { "1;31" } else { "1;33" };
            writeln!(out, "{}\n", text.replacen(word, &format!("\x1b[{code}m{word}\x1b[0m"), 1))?;
        } else {
            writeln!(out, "{text}\n")?;
        }
    }
    if let Some(plant) = &examined.plant {
        writeln!(out, "{}", summary(plant, examined.examples))?;
    }
    let warnings = examined.findings.len() - errors;
    match (errors, warnings) {
        (0, 0) => writeln!(out, "no findings"),
        _ => writeln!(out, "{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn summary(plant: &Plant, examples: usize) -> String {
    format!(
        "{}, {}, {}, {}, {}; the BMS sees {} and {}; {} evaluated",
        count(plant.zones.len(), "zone"),
        count(plant.heaters.len(), "heater"),
        count(plant.meters.len(), "meter"),
        count(plant.devices.len(), "device"),
        count(plant.points.len(), "point"),
        count(plant.modbus.faces.len(), "Modbus value"),
        count(plant.bacnet.len(), "BACnet object"),
        count(examples, "worked example"),
    )
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn as_json(examined: &Examined, errors: usize, out: &mut dyn Write) -> io::Result<()> {
    let findings: Vec<serde_json::Value> = examined.findings.iter().map(finding_json).collect();
    let report = serde_json::json!({
        "ok": errors == 0,
        "errors": errors,
        "warnings": examined.findings.len() - errors,
        "examples": examined.examples,
        "findings": findings,
    });
    writeln!(out, "{report:#}")
}

fn finding_json(finding: &Diagnostic) -> serde_json::Value {
    let position = finding.position();
    serde_json::json!({
        "severity": finding.severity.as_str(),
        "code": finding.code,
        "file": position.map(|(file, ..)| file),
        "line": position.map(|(_, line, _)| line),
        "column": position.map(|(_, _, column)| column),
        "text": finding.offending(),
        "message": finding.message,
        "help": finding.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(config: &Path, json: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = check(config, json, false, &[], &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_shipped_files_are_fine() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in ["config/gateway.toml", "config/demo.toml"] {
            let (code, text) = checked(&root.join(file), false);
            assert_eq!(code, 0, "{file}: {text}");
            assert!(text.contains("no findings"), "{text}");
            assert!(text.contains("5 worked examples evaluated"), "{text}");
        }
    }

    #[test]
    fn both_files_are_examined_even_when_the_first_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("gateway.toml");
        std::fs::write(&config, "mapping = \"site.toml\"\n[site]\nid = \"x\"\n[mqtt]\nkeep_alive_s = 1\n").unwrap();
        std::fs::write(dir.path().join("site.toml"), "hetaer = 1\n").unwrap();
        let (code, text) = checked(&config, false);
        assert_eq!(code, 2);
        assert!(text.contains("gateway.toml:5:16: error[out-of-range]"), "{text}");
        assert!(text.contains("site.toml:1:1: error[unknown-key]"), "{text}");
        assert!(text.contains("did you mean `heater`?"), "{text}");

        let (code, text) = checked(&config, true);
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &report["ok"]), (2, &serde_json::Value::Bool(false)));
        let first = &report["findings"][0];
        assert_eq!((&first["line"], &first["column"], &first["text"]), (&5.into(), &16.into(), &"1".into()));
    }

    #[test]
    fn a_configuration_that_is_not_there_failed_and_a_mapping_that_is_not_there_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("gateway.toml");
        assert_eq!(checked(&config, false).0, 1);
        std::fs::write(&config, "mapping = \"none.toml\"\n[site]\nid = \"x\"\n").unwrap();
        let (code, text) = checked(&config, false);
        assert_eq!(code, 2);
        assert!(text.contains("none.toml cannot be read"), "{text}");
    }

    #[test]
    fn a_file_that_is_there_and_cannot_be_read_is_never_replaced_by_the_built_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("gateway.toml");
        std::fs::write(&config, "mapping = \"demo.toml\"\n[site]\nid = \"x\"\n").unwrap();
        std::fs::write(dir.path().join("demo.toml"), crate::mapping::builtin("demo.toml").unwrap()).unwrap();
        assert_eq!(checked(&config, false).0, 0, "the built-in profile serves where there is none");
        let profiles = dir.path().join("profiles");
        std::fs::create_dir(&profiles).unwrap();
        let profile = profiles.join("generic-heat-meter.toml");
        // Not text, a directory, and a link that leads nowhere; a test as root can read what is forbidden.
        std::fs::write(&profile, [0xFF, 0xFE, 0x00]).unwrap();
        assert!(checked(&config, false).1.contains("error[unreadable]"));
        std::fs::remove_file(&profile).unwrap();
        std::fs::create_dir(&profile).unwrap();
        assert!(checked(&config, false).1.contains("error[unreadable]"));
        std::fs::remove_dir(&profile).unwrap();
        std::os::unix::fs::symlink("nowhere.toml", &profile).unwrap();
        let (code, text) = checked(&config, false);
        assert_eq!(code, 2);
        assert!(text.contains("generic-heat-meter.toml cannot be read"), "{text}");
    }

    #[test]
    fn a_device_that_speaks_tls_needs_our_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("gateway.toml");
        let head = "mapping = \"demo.toml\"\n[site]\nid = \"x\"\n";
        let mapping = crate::mapping::builtin("demo.toml").unwrap().replacen("modbus-tcp://", "modbus-tls://", 1);
        std::fs::write(dir.path().join("demo.toml"), mapping).unwrap();
        std::fs::write(&config, head).unwrap();
        let (code, text) = checked(&config, false);
        assert_eq!(code, 2);
        assert!(text.contains("is reached by modbus-tls://, and there is no certificate for it"), "{text}");
        let client = "[modbus.client]\ncertificate = \"a\"\nkey = \"b\"\nauthorities = \"c\"\n";
        std::fs::write(&config, format!("{head}{client}")).unwrap();
        assert_eq!(checked(&config, false).0, 0);
    }

    #[test]
    fn the_demonstration_needs_no_files() {
        let (config, plant, findings) = super::super::load::load(None).unwrap();
        assert_eq!((config.site.id.as_str(), plant.zones.len(), findings.len()), ("demo", 1, 0));
    }

    #[test]
    fn files_of_the_secure_port_are_looked_at() {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join("config/gateway.toml")).unwrap();
        let mapping = root.join("config/").display().to_string();
        let text = text.replace("mapping = \"", &format!("mapping = \"{mapping}"));
        let port =
            "[bacnet.sc]\nhub = \"wss://hub:4443\"\ncertificate = \"a.pem\"\nkey = \"a.key\"\nauthorities = \"ca.pem\"";
        std::fs::write(at("gateway.toml"), text.replace("[bacnet.sc]", port)).unwrap();
        let (code, text) = checked(&at("gateway.toml"), false);
        assert!(code == 2 && text.contains("a.pem cannot be used") && text.contains("bad-certificate"), "{text}");

        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        std::fs::write(at("ca.pem"), authority.pem()).unwrap();
        std::fs::write(at("a.key"), key.serialize_pem()).unwrap();
        for (year, found) in [(2020, Some("a.pem is valid no longer: it ended at 2020-02-03")), (2099, None)] {
            let mut params = CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 2, 3);
            std::fs::write(at("a.pem"), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
            let (code, text) = checked(&at("gateway.toml"), false);
            match found {
                Some(found) => assert!(code == 2 && text.contains(found), "{text}"),
                None => assert_eq!(code, 0, "{text}"),
            }
        }
    }
}
