//! The broadcast manager of a subnet (BBMD, Annex J.4, J.5): its two tables, who may change them, and how much it passes
//! on. The decisions are the family's; the bounds are ours.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bacnet_bip_core::Instant as Stamp;
use bacnet_bip_core::bbmd::{RegistrationLimits, Rules, Tables, Target};
use bacnet_bip_core::codec::{BdtEntries, BdtEntry, BvlcFunction, BvlcResultCode, Bvll, BvllFrame, FdtEntry};
use bacnet_bip_core::node::{Datagram, Link, Policy, Received, SendRefusal};
use bacnet_bip_core::port::{BbmdPort, Datagrams};

use super::bip::{Out, RoleState, Taken, discarded, ingress, stamp, taken};
use super::link::Outbox;
use crate::time::Mono;

/// Most broadcast managers in the table, ourselves included.
const BDT: usize = 64;
/// Most foreign devices.
const FDT: usize = 128;
/// Most foreign devices at one IPv4 address, which may be a whole site's behind its NAT router.
const PER_ADDRESS: usize = 16;
/// Broadcasts per second that are passed on, each to at most `BDT + FDT` addresses; as many at once. A site's busiest
/// minute is a few dozen; a loop that others have built would take all there is.
const FORWARDS: u32 = 200;
/// Requests per second about the tables; as many at once. Each is small and draws up to 1.3 kB.
const REQUESTS: u32 = 50;

/// So many at once, and so many per second.
#[derive(Debug)]
struct Allowance {
    most: u32,
    /// Thousandths.
    left: u64,
    at: Mono,
}

impl Allowance {
    const fn new(most: u32) -> Self {
        Self { most, left: most as u64 * 1000, at: Mono::START }
    }

    fn take(&mut self, now: Mono) -> bool {
        let passed = now.since(self.at);
        if passed >= Duration::from_millis(1) {
            let gained = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).saturating_mul(self.most.into());
            self.left = self.left.saturating_add(gained).min(u64::from(self.most) * 1000);
            self.at = now;
        }
        let taken = self.left >= 1000;
        if taken {
            self.left -= 1000;
        }
        taken
    }
}

/// Who may ask for what.
#[derive(Debug)]
struct House {
    accept_foreign: bool,
    requests: Allowance,
    /// Who is registered already, for this one datagram: renewals are not counted.
    known: bool,
    now: Mono,
}

impl Policy for House {
    fn admit_management(&mut self, _: SocketAddrV4, _: BvlcFunction, _: Stamp) -> bool {
        self.known || self.requests.take(self.now)
    }
}

impl Rules for House {
    fn registration_limits(&mut self) -> RegistrationLimits {
        let mut limits = RegistrationLimits::DEFAULT;
        // Any time that the request can name: the standard gives no reason to refuse one.
        limits.max_ttl = u16::MAX;
        limits.max_entries_per_source = PER_ADDRESS;
        limits
    }

    fn admit_registration(&mut self, _: SocketAddrV4, _: Stamp) -> bool {
        self.accept_foreign
    }
}

/// A broadcast manager.
#[derive(Debug)]
pub(super) struct Manager {
    /// For what it does not pass on.
    normal: Link,
    link: Link,
    tables: Box<Tables<BDT, FDT>>,
    targets: Vec<Target>,
    rows: Vec<FdtEntry>,
    house: House,
    forwards: Allowance,
    writable: bool,
    /// The table of the configuration.
    configured: Vec<BdtEntry>,
    /// The table was written from the network, and nobody has kept it yet.
    written: bool,
}

impl Manager {
    /// With these peers; `None` when one of them cannot be one, or there are too many.
    pub(super) fn new(
        normal: Link,
        link: Link,
        peers: &[(SocketAddrV4, Ipv4Addr)],
        accept_foreign: bool,
        writable: bool,
    ) -> Option<Self> {
        let mut tables = Box::new(Tables::new(link.address));
        let configured: Vec<BdtEntry> = peers.iter().map(|(address, mask)| BdtEntry::new(*address, *mask)).collect();
        tables.bdt.set(BdtEntries::from_entries(&configured)).ok()?;
        Some(Self {
            normal,
            link,
            tables,
            targets: vec![Target::UNUSED; Tables::<BDT, FDT>::MAX_TARGETS],
            rows: vec![FdtEntry::new(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), 0, 0); FDT],
            house: House { accept_foreign, requests: Allowance::new(REQUESTS), known: false, now: Mono::START },
            forwards: Allowance::new(FORWARDS),
            writable,
            configured,
            written: false,
        })
    }

    fn port(&mut self) -> Option<(BbmdPort<'_, BDT, FDT>, &mut House)> {
        let port = BbmdPort::new(self.link, &mut self.tables, &mut self.targets, &mut self.rows).ok()?;
        Some((port, &mut self.house))
    }

    /// What a datagram holds; `own` when it came to our own address.
    pub(super) fn receive<'d>(&mut self, datagram: &Datagram<'d>, own: bool, now: Mono, out: &mut Outbox) -> Taken<'d> {
        let function = BvllFrame::decode(datagram.payload).ok().map(|frame| frame.function);
        match function {
            Some(
                BvlcFunction::ORIGINAL_BROADCAST_NPDU
                | BvlcFunction::FORWARDED_NPDU
                | BvlcFunction::DISTRIBUTE_BROADCAST_TO_NETWORK,
            ) if !self.forwards.take(now) => return self.unforwarded(datagram, now),
            Some(BvlcFunction::WRITE_BROADCAST_DISTRIBUTION_TABLE) if self.writable && own => {
                return self.write(datagram, now, out);
            }
            _ => {}
        }
        self.house.now = now;
        self.house.known = function == Some(BvlcFunction::REGISTER_FOREIGN_DEVICE)
            && self.tables.fdt.is_registered_at(datagram.source, stamp(now));
        match self.port() {
            Some((mut port, house)) => ingress(port.receive(datagram, stamp(now), house, &mut Out(out))),
            None => Taken::Done,
        }
    }

    /// Too much is to be passed on: what our own subnet has heard is heard by us, too, and that is all.
    fn unforwarded<'d>(&mut self, datagram: &Datagram<'d>, now: Mono) -> Taken<'d> {
        match self.normal.receive(datagram, stamp(now), &mut self.house) {
            Received::Deliver(delivery) if delivery.source == datagram.source => taken(&delivery),
            Received::Discarded(why) => discarded(why),
            _ => Taken::Rejected("rate"),
        }
    }

    /// Write-Broadcast-Distribution-Table (Annex J.4.4.2 of the editions that have it).
    fn write<'d>(&mut self, datagram: &Datagram<'d>, now: Mono, out: &mut Outbox) -> Taken<'d> {
        if !self.link.is_answerable(datagram.source) {
            return Taken::Rejected("bvll");
        }
        if !self.house.requests.take(now) {
            return Taken::Rejected("rate");
        }
        let message = BvllFrame::decode(datagram.payload).and_then(BvllFrame::message);
        let set = match message {
            Ok(Bvll::WriteBroadcastDistributionTable(entries)) => self.tables.bdt.set(entries).is_ok(),
            _ => false,
        };
        self.written |= set;
        let code = if set {
            tracing::warn!(by = %datagram.source, peers = self.tables.bdt.len(), "BACnet broadcast table written");
            BvlcResultCode::SUCCESSFUL_COMPLETION
        } else {
            BvlcResultCode::WRITE_BROADCAST_DISTRIBUTION_TABLE_NAK
        };
        // An outbox takes everything.
        let _ = Out(out).send(datagram.source, &Bvll::BvlcResult(code));
        Taken::Done
    }

    /// Send an NPDU of our own to everybody in the network.
    pub(super) fn broadcast(&mut self, npdu: &[u8], now: Mono, out: &mut Outbox) -> Result<(), SendRefusal> {
        match self.port() {
            Some((mut port, _)) => port.broadcast(npdu, stamp(now), &mut Out(out)),
            None => Ok(()),
        }
    }

    /// The broadcast distribution table to keep, once after it was written: the configured one and the written one.
    pub(super) fn take_written(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.written).then(|| {
            let rows = |rows: &[BdtEntry]| rows.iter().flat_map(|row| row.to_octets()).collect::<Vec<u8>>();
            let configured = rows(&self.configured);
            let count = u8::try_from(self.configured.len()).unwrap_or(u8::MAX);
            [vec![count], configured, rows(self.tables.bdt.configured_rows())].concat()
        })
    }

    /// Take the table that was kept. Not when the configuration has changed since, when it may not be written any more,
    /// or when it is none: then the configuration rules.
    pub(super) fn restore(&mut self, kept: &[u8]) -> bool {
        let Some((&count, octets)) = kept.split_first() else { return false };
        let rows: Vec<BdtEntry> =
            octets.chunks(10).filter_map(|chunk| chunk.try_into().ok().map(BdtEntry::from_octets)).collect();
        let same = octets.len().is_multiple_of(10) && rows.get(..usize::from(count)) == Some(&self.configured);
        let written = rows.get(usize::from(count)..).unwrap_or_default();
        self.writable && same && self.tables.bdt.set(BdtEntries::from_entries(written)).is_ok()
    }

    /// What it shows of itself.
    pub(super) fn state(&self, now: Mono) -> RoleState {
        let at = stamp(now);
        RoleState::Manager {
            accept_foreign: self.house.accept_foreign,
            bdt: self.tables.bdt.rows().to_vec(),
            fdt: (now, self.tables.fdt.live_at(at).map(|entry| entry.wire_entry_at(at)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let mut allowance = Allowance::new(50);
        assert_eq!((0..200).filter(|_| allowance.take(Mono::START)).count(), 50);
        let later = Mono::START.after(Duration::from_millis(100));
        assert_eq!((0..200).filter(|_| allowance.take(later)).count(), 5);
        let much_later = later.after(Duration::from_secs(3600));
        assert_eq!((0..200).filter(|_| allowance.take(much_later)).count(), 50);
    }
}
