//! Device management: whether the device may speak (clause 16.1), and who may say so.

use std::time::Duration;

use bacnet_types::enums::EnableDisable;

use super::answer::Failure;
use crate::time::Mono;

/// The password of DeviceCommunicationControl and ReinitializeDevice: 1 to 20 characters. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(...)")
    }
}

impl Password {
    /// `None` when it is empty or longer than 20 characters (clauses 16.1.1.1.3, 16.4.1.1.2): no client could send it.
    pub fn new(text: &str) -> Option<Self> {
        bacnet_services::device_mgmt::password_valid(text).then(|| Self(text.to_owned()))
    }

    /// Takes as long for a wrong one as for the right one.
    fn is(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let differ = own.iter().zip(given).fold(0, |differ, (a, b)| differ | (a ^ b));
        differ == 0 && own.len() == given.len()
    }
}

/// Whether a request with this password may manage the device. Where none is configured nobody may: who can stop a
/// device that heats a building must at least know a word.
pub(super) fn admit(configured: Option<&Password>, given: Option<&str>) -> Result<(), Failure> {
    match (configured, given) {
        (Some(configured), Some(given)) if configured.is(given) => Ok(()),
        _ => Err(Failure::PASSWORD),
    }
}

/// What DeviceCommunicationControl has left allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Speech {
    /// Everything.
    #[default]
    Free,
    /// To answer.
    Answers,
    /// To answer DeviceCommunicationControl and ReinitializeDevice.
    Management,
}

/// What is allowed, and until when.
#[derive(Debug, Default)]
pub(super) struct Communication {
    speech: Speech,
    until: Option<Mono>,
}

impl Communication {
    /// Do what was asked; false: there is no such state. `minutes` 0 or none: until it is changed.
    pub(super) fn control(&mut self, asked: EnableDisable, minutes: Option<u16>, now: Mono) -> bool {
        let speech = match asked {
            EnableDisable::ENABLE => Speech::Free,
            // Deprecated from protocol revision 20 on; 19 executes it.
            EnableDisable::DISABLE => Speech::Management,
            EnableDisable::DISABLE_INITIATION => Speech::Answers,
            _ => return false,
        };
        self.speech = speech;
        let minutes = minutes.filter(|minutes| *minutes > 0 && speech != Speech::Free);
        self.until = minutes.map(|minutes| now.after(Duration::from_secs(u64::from(minutes) * 60)));
        true
    }

    /// What is allowed.
    pub(super) const fn speech(&self) -> Speech {
        self.speech
    }

    /// When that ends by itself.
    pub(super) const fn wake(&self) -> Option<Mono> {
        self.until
    }

    /// Whether it has just ended.
    pub(super) fn expire(&mut self, now: Mono) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        if over {
            *self = Self::default();
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_password_admits_and_none_admits_nobody() {
        let secret = Password::new("filister").unwrap();
        assert_eq!(admit(Some(&secret), Some("filister")), Ok(()));
        for wrong in ["", "filiste", "filister1", "Filister", "filisteR"] {
            assert_eq!(admit(Some(&secret), Some(wrong)), Err(Failure::PASSWORD), "{wrong}");
        }
        assert!(admit(Some(&secret), None).is_err());
        assert!(admit(None, None).is_err());
        assert!(admit(None, Some("filister")).is_err());
        assert!(Password::new("").is_none() && Password::new(&"x".repeat(21)).is_none());
        assert!(Password::new(&"é".repeat(20)).is_some());
        assert_eq!(format!("{secret:?}"), "Password(...)");
    }

    #[test]
    fn a_state_ends_after_its_minutes_or_never() {
        let mut communication = Communication::default();
        let after = |minutes: u64| Mono::START.after(Duration::from_secs(minutes * 60));
        assert!(communication.control(EnableDisable::DISABLE_INITIATION, Some(2), Mono::START));
        assert_eq!((communication.speech(), communication.wake()), (Speech::Answers, Some(after(2))));
        assert!(!communication.expire(after(1)));
        assert!(communication.expire(after(2)));
        assert_eq!((communication.speech(), communication.wake()), (Speech::Free, None));
        for minutes in [None, Some(0)] {
            assert!(communication.control(EnableDisable::DISABLE, minutes, Mono::START));
            assert_eq!((communication.speech(), communication.wake()), (Speech::Management, None));
        }
        assert!(!communication.control(EnableDisable::from_raw(3), None, Mono::START));
        assert_eq!(communication.speech(), Speech::Management);
        assert!(communication.control(EnableDisable::ENABLE, Some(5), Mono::START));
        assert_eq!((communication.speech(), communication.wake()), (Speech::Free, None));
    }
}
