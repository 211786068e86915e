//! The statement as Markdown, in the order of Annex A.

use std::fmt::{self, Display, Formatter};

use super::Pics;

const fn yes(yes: bool) -> &'static str {
    if yes { "x" } else { "" }
}

impl Display for Pics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { vendor_name, vendor_id, model, version, description, protocol_revision, .. } = self;
        writeln!(f, "# BACnet Protocol Implementation Conformance Statement\n")?;
        writeln!(f, "| | |\n|---|---|")?;
        writeln!(f, "| Vendor | {vendor_name} (Vendor_Identifier {vendor_id}) |")?;
        writeln!(f, "| Product | {model} |")?;
        writeln!(f, "| Application software version, firmware revision | {version} |")?;
        writeln!(f, "| BACnet protocol version, revision | 1, {protocol_revision} |")?;
        writeln!(f, "| Description | {description} |")?;

        writeln!(f, "\n## Device profiles (Annex L)\n")?;
        self.profiles.iter().try_for_each(|term| writeln!(f, "- {} ({})", term.title, term.name))?;
        writeln!(f, "\n## BACnet interoperability building blocks (Annex K)\n")?;
        writeln!(f, "| BIBB | |\n|---|---|")?;
        self.bibbs.iter().try_for_each(|term| writeln!(f, "| {} | {} |", term.name, term.title))?;

        writeln!(f, "\n## Services\n")?;
        writeln!(f, "| service | initiates | executes |\n|---|---|---|")?;
        for service in &self.services {
            writeln!(f, "| {} | {} | {} |", service.name, yes(service.initiates), yes(service.executes))?;
        }
        writeln!(f, "\nEvery other confirmed service is rejected as unrecognized-service.")?;

        writeln!(f, "\n## Segmentation\n")?;
        writeln!(f, "- Segmented requests are taken: up to {} segments, window {}.", self.max_segments, self.window)?;
        writeln!(f, "- Segmented responses are sent: window {}.", self.window)?;
        writeln!(f, "- Largest APDU: {} octets.", self.max_apdu)?;

        writeln!(f, "\n## Standard object types\n")?;
        writeln!(f, "None can be created or deleted dynamically; there are no proprietary properties.\n")?;
        writeln!(f, "| object type | optional properties | writable | commandable |\n|---|---|---|---|")?;
        for object in &self.objects {
            writeln!(
                f,
                "| {} ({}) | {} | {} | {} |",
                object.name,
                object.number,
                object.optional.join(", "),
                object.writable.join(", "),
                object.commandable.join(", ")
            )?;
        }

        for (title, lines) in [
            ("Data links", self.data_links),
            ("Networking options", self.networking),
            ("Character sets", self.character_sets),
            ("Remarks", self.remarks),
        ] {
            writeln!(f, "\n## {title}\n")?;
            lines.iter().try_for_each(|line| writeln!(f, "- {line}"))?;
        }
        Ok(())
    }
}
