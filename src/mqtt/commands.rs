//! Commands on their way: for each heater at most one unacknowledged, the newest next, never an expired one.
//!
//! A command that waits is not queued anywhere: it is looked up when it can go, so its successor replaces it and nothing
//! stale can follow. After a reconnect the newest one goes again with the same number, while its lease runs; controllers
//! ignore repeats.

use std::time::Duration;

use crate::decision::{Command, Desired};
use crate::plant::HeaterId;
use crate::time::Mono;

#[derive(Debug, Default)]
struct Slot {
    wanted: Option<Command>,
    /// The command that was last sent, or given up, over this connection.
    done: u64,
    in_flight: bool,
    /// The highest number that was ever sent.
    sent: u64,
}

/// The commands of all heaters.
#[derive(Debug)]
pub(super) struct Commands(Vec<Slot>);

/// What can be said of commands that were not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this heater's; this much of its lease is left.
    Send(HeaterId, Duration),
    /// This heater's has expired before it could be sent.
    Expired(HeaterId),
    /// There is nothing to send.
    Nothing,
}

impl Commands {
    pub fn new(heaters: usize) -> Self {
        Self(std::iter::repeat_with(Slot::default).take(heaters).collect())
    }

    /// Control has spoken. How many commands were replaced before they were sent.
    pub fn want(&mut self, desired: &Desired) -> usize {
        let mut replaced = 0;
        for command in desired.commands.iter().flatten() {
            let Some(slot) = self.0.get_mut(usize::from(command.heater.0)) else { continue };
            match &slot.wanted {
                Some(old) if old.seq == command.seq => continue,
                Some(old) if old.seq != slot.done => replaced += 1,
                _ => {}
            }
            slot.wanted = Some(command.clone());
        }
        replaced
    }

    /// What to send next, if anything; what is returned as sent or expired counts as done.
    pub fn next(&mut self, now: Mono) -> Next {
        for (heater, slot) in (0u16..).map(HeaterId).zip(&mut self.0) {
            let Some(command) = slot.wanted.as_ref().filter(|command| command.seq != slot.done) else { continue };
            if slot.in_flight {
                continue;
            }
            slot.done = command.seq;
            let left = command.ttl.saturating_sub(now.since(command.issued.mono));
            if left.is_zero() {
                return Next::Expired(heater);
            }
            slot.in_flight = true;
            slot.sent = slot.sent.max(command.seq);
            return Next::Send(heater, left);
        }
        Next::Nothing
    }

    /// The newest command of a heater.
    pub fn wanted(&self, heater: HeaterId) -> Option<&Command> {
        self.0.get(usize::from(heater.0)).and_then(|slot| slot.wanted.as_ref())
    }

    /// The highest number that was sent to a heater.
    pub fn sent(&self, heater: HeaterId) -> u64 {
        self.0.get(usize::from(heater.0)).map_or(0, |slot| slot.sent)
    }

    /// The broker has the heater's last one.
    pub fn acknowledged(&mut self, heater: HeaterId) {
        if let Some(slot) = self.0.get_mut(usize::from(heater.0)) {
            slot.in_flight = false;
        }
    }

    /// A new connection: what is wanted goes again.
    pub fn reconnected(&mut self) {
        for slot in &mut self.0 {
            slot.done = 0;
            slot.in_flight = false;
        }
    }

    /// Nothing waits and nothing is unacknowledged.
    pub fn idle(&self) -> bool {
        self.0.iter().all(|slot| !slot.in_flight && slot.wanted.as_ref().is_none_or(|command| command.seq == slot.done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::testing::command;

    fn at(seconds: u64) -> Mono {
        Mono::from_start(Duration::from_secs(seconds))
    }

    fn want(commands: &mut Commands, seq: u64, issued: u64) -> usize {
        commands.want(&Desired { commands: vec![Some(command(0, seq, issued, 1000.0)), None] })
    }

    #[test]
    fn one_is_on_its_way_and_the_newest_is_next() {
        let mut commands = Commands::new(2);
        assert_eq!(want(&mut commands, 1, 0), 0);
        assert_eq!(commands.next(at(0)), Next::Send(HeaterId(0), Duration::from_secs(180)));
        assert_eq!(want(&mut commands, 2, 1), 0);
        assert_eq!(want(&mut commands, 3, 2), 1);
        assert_eq!(commands.next(at(2)), Next::Nothing);
        commands.acknowledged(HeaterId(0));
        assert_eq!(commands.next(at(12)), Next::Send(HeaterId(0), Duration::from_secs(170)));
        assert_eq!(commands.wanted(HeaterId(0)).map(|command| command.seq), Some(3));
        commands.acknowledged(HeaterId(0));
        assert_eq!(commands.next(at(12)), Next::Nothing);
        assert!(commands.idle());
        assert_eq!(commands.sent(HeaterId(0)), 3);
    }

    #[test]
    fn after_a_reconnect_it_goes_again_while_its_lease_runs() {
        let mut commands = Commands::new(1);
        want(&mut commands, 1, 0);
        assert!(matches!(commands.next(at(0)), Next::Send(..)));
        commands.reconnected();
        assert_eq!(commands.next(at(179)), Next::Send(HeaterId(0), Duration::from_secs(1)));
        commands.reconnected();
        assert_eq!(commands.next(at(180)), Next::Expired(HeaterId(0)));
        assert_eq!(commands.next(at(180)), Next::Nothing);
    }
}
