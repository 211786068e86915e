//! Alarms as written: what of an object is not normal, and whom it is told.

use std::time::Duration;

use super::build::{Builder, Layout};
use super::faces::BacnetWritten;
use super::written::{a, kind_word};
use crate::plant::{AlarmFace, ClassDefaults, Condition, ObjectKind, PointDef, ServiceObject};
use crate::point::Kind;
use crate::written::{At, Findings, Item, Place, Read, Table};

/// Longest delay, s.
const LONGEST: u64 = 86_400;

/// `alarm = true`, or `alarm = { high = ..., ... }`
#[derive(Debug, Default)]
pub struct AlarmWritten {
    high: Option<At<f64>>,
    low: Option<At<f64>>,
    deadband: Option<At<f64>>,
    when: Option<At<bool>>,
    delay: Option<At<Duration>>,
    delay_normal: Option<At<Duration>>,
    class: Option<At<u32>>,
    event: bool,
}

const NOTIFY: &[(bool, &str)] = &[(false, "alarm"), (true, "event")];

impl AlarmWritten {
    /// `None` where it is left out or false.
    pub fn read(t: &mut Table<'_>, f: &mut Findings) -> Option<At<Self>> {
        let item = t.item("alarm")?;
        let place = item.place();
        if !item.is_table() {
            return bool::read(&item, f)?.then(|| At { value: Self::default(), place });
        }
        let mut t = item.table(f)?;
        let value = Self {
            high: t.opt("high", f),
            low: t.opt("low", f),
            deadband: t.opt("deadband", f),
            when: t.opt("when", f),
            delay: t.opt("delay", f),
            delay_normal: t.opt("delay_normal", f),
            class: t.opt("class", f),
            event: t.word("notify", NOTIFY, f).is_some_and(|at| at.value),
        };
        t.finish(f);
        Some(At { value, place })
    }
}

/// The fields of `[[notification_class]]` beside instance and name.
#[derive(Debug, Default)]
pub struct ClassWritten {
    priority: Option<At<[u8; 3]>>,
    ack_required: Option<At<[bool; 3]>>,
}

impl ClassWritten {
    pub fn read(t: &mut Table<'_>, f: &mut Findings) -> Self {
        Self { priority: t.opt("priority", f), ack_required: t.opt("ack_required", f) }
    }

    pub fn defaults(&self) -> ClassDefaults {
        let default = ClassDefaults::default();
        ClassDefaults {
            priority: self.priority.as_ref().map_or(default.priority, |at| at.value),
            ack_required: self.ack_required.as_ref().map_or(default.ack_required, |at| at.value),
        }
    }
}

/// For to-offnormal, to-fault and to-normal.
impl<T: Read> Read for [T; 3] {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let Ok(three) = <[Item<'_>; 3]>::try_from(item.items()) else {
            item.wrong("a list of three", "one each for to-offnormal, to-fault and to-normal", f);
            return None;
        };
        let [first, second, third] = three.map(|item| T::read(&item, f));
        Some([first?, second?, third?])
    }
}

impl Builder {
    /// How a face's object reports; `None` when it does not, or not as written.
    pub fn alarm(
        &mut self,
        face: &BacnetWritten,
        def: &PointDef,
        layout: Layout,
        range: Option<(f64, f64)>,
        label: &str,
    ) -> Option<AlarmFace> {
        use ObjectKind as O;
        let At { value: written, place } = face.alarm.as_ref()?;
        let fits = match face.kind {
            O::BinaryInput | O::BinaryValue => true,
            O::AnalogInput | O::AnalogOutput | O::AnalogValue => true,
            O::LargeAnalogValue | O::IntegerValue | O::PositiveIntegerValue => true,
            O::BinaryOutput | O::MultiStateInput | O::MultiStateValue | O::Accumulator | O::CharacterStringValue => {
                false
            }
        };
        if !fits {
            let message = format!("{} reports no alarms here", a(face.kind.as_str()));
            self.f.error("kind-does-not-fit", place, message, "a binary input or value, or an analog object");
            return None;
        }
        let condition = if def.kind == Kind::Bool {
            self.state(written, label)
        } else {
            self.limits(written, def, range, place, label)
        };
        let delay = self.delay(written.delay.as_ref());
        let class = written.class.as_ref();
        let instance = class.map_or(1, |at| at.value).saturating_add(layout.shift);
        self.alarm_classes.push((instance, class.map_or(place, |at| &at.place).clone()));
        Some(AlarmFace {
            class: instance,
            condition: condition?,
            delay,
            delay_normal: written.delay_normal.as_ref().map_or(delay, |at| self.delay(Some(at))),
            event: written.event,
        })
    }

    fn delay(&mut self, written: Option<&At<Duration>>) -> Duration {
        let Some(At { value, place }) = written else { return Duration::ZERO };
        if value.subsec_nanos() > 0 || value.as_secs() > LONGEST {
            self.f.error("out-of-range", place, "a delay is whole seconds, at most a day", "such as \"10s\"");
        }
        *value
    }

    fn state(&mut self, written: &AlarmWritten, label: &str) -> Option<Condition> {
        let numbers = [&written.high, &written.low, &written.deadband];
        for at in numbers.into_iter().flatten() {
            let message = format!("`{label}` is yes or no and has no limits");
            self.f.error("kind-does-not-fit", &at.place, message, "write `when = true` or `when = false`");
        }
        Some(Condition::State(written.when.as_ref().is_none_or(|at| at.value)))
    }

    fn limits(
        &mut self,
        written: &AlarmWritten,
        def: &PointDef,
        range: Option<(f64, f64)>,
        place: &Place,
        label: &str,
    ) -> Option<Condition> {
        if let Some(at) = &written.when {
            let message = format!("`{label}` is {} and has limits", a(kind_word(def.kind)));
            self.f.error("kind-does-not-fit", &at.place, message, "write `high`, `low` or both");
        }
        let (high, low) = (written.high.as_ref(), written.low.as_ref());
        let Some(first) = high.or(low) else {
            let message = format!("`{label}` is {}: an alarm needs a limit", a(kind_word(def.kind)));
            self.f.error("missing-key", place, message, "alarm = { high = 70, deadband = 2, delay = \"30s\" }");
            return None;
        };
        let deadband = written.deadband.as_ref().map_or(0.0, |at| at.value);
        let deadband_at = written.deadband.as_ref().map_or(&first.place, |at| &at.place);
        if deadband < 0.0 {
            self.f.error("out-of-range", deadband_at, "a deadband is not negative", "0 or more, in the face's unit");
        }
        if let (Some(high), Some(low)) = (high, low) {
            if low.value >= high.value {
                let message = format!("the low limit {} is not below the high limit {}", low.value, high.value);
                self.f.error("limits-crossed", &low.place, message, "everything would be an alarm");
            } else if deadband >= high.value - low.value {
                let message = "the deadband is as wide as all that is normal".to_owned();
                self.f.error("limits-crossed", deadband_at, message, "an alarm would not end within the limits");
            }
        }
        let never = |at: &&At<f64>, beyond: bool| beyond && at.value.is_finite();
        if let Some((lowest, highest)) = range {
            let high = high.filter(|at| never(at, at.value >= highest));
            for at in high.into_iter().chain(low.filter(|at| never(at, at.value <= lowest))) {
                let message = format!("`{label}` stays within {lowest} to {highest}: this limit is never crossed");
                self.f.warning(
                    "limit-never-crossed",
                    &at.place,
                    message,
                    "a limit within the range, in the face's unit",
                );
            }
        }
        Some(Condition::Limits { high: high.map(|at| at.value), low: low.map(|at| at.value), deadband })
    }

    /// Every class that an alarm names must be there.
    pub fn classes_exist(&mut self) {
        let known = |wanted: u32| {
            self.plant.bacnet_services.iter().any(
                |object| matches!(object, ServiceObject::NotificationClass { instance, .. } if *instance == wanted),
            )
        };
        let missing: Vec<_> = self.alarm_classes.iter().filter(|(class, _)| !known(*class)).cloned().collect();
        for (class, place) in missing {
            let message = format!("there is no notification class {class}");
            let help =
                "write a [[notification_class]] with that instance; a zone's index times the stride is added to both";
            self.f.error("unknown-reference", &place, message, help);
        }
    }
}
