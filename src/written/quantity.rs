//! Quantities as people write them: "30 kW", "25 %", "15m", "20 %/min", "55 degC". The unit is never left out.

use std::time::Duration;

use super::{Findings, Item, Read};
use crate::units::{Celsius, Energy, Percent, Quantity, Unit, Watts};

/// A speed, percent per minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PercentPerMinute(pub f64);

/// "30 kW" as its number and the rest.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    let number: f64 = text.get(..end)?.parse().ok()?;
    number.is_finite().then_some((number, text.get(end..)?.trim()))
}

/// A number with a unit, in base units of its quantity (W, Wh, degC, %).
fn base(text: &str, quantity: Quantity) -> Option<f64> {
    let (number, unit) = split(text)?;
    let unit = Unit::parse(unit).filter(|unit| unit.quantity() == quantity)?;
    Some(number * unit.to_base())
}

/// "1h30m", "180s", "500ms"; `None` for anything else.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let seconds = match tail.get(..letters)? {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = tail.get(letters..)?.trim_start();
    }
    // Ten years: longer than any of them can mean, and far from any overflow.
    (sum <= Duration::from_secs(315_360_000)).then_some(sum)
}

/// Read a text, or say what it should look like.
fn read<T>(
    item: &Item<'_>,
    takes: &str,
    help: &str,
    findings: &mut Findings,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let Some(text) = item.as_text() else {
        item.wrong(takes, help, findings);
        return None;
    };
    let found = parse(text);
    if found.is_none() {
        let help = if text.contains(',') { "decimals take a point: 0.1" } else { help };
        let message = format!("`{}` takes {takes}, not `{text}`", item.key);
        findings.error("bad-quantity", &item.place(), message, help);
    }
    found
}

macro_rules! quantity {
    ($type:ty, $takes:literal, $help:literal, $parse:expr) => {
        impl Read for $type {
            fn read(item: &Item<'_>, findings: &mut Findings) -> Option<Self> {
                read(item, $takes, $help, findings, $parse)
            }
        }
    };
}

quantity!(Duration, "a duration", "write it like \"15m\", \"180s\", \"500ms\" or \"1h30m\"", duration);
quantity!(Watts, "a power", "write it with its unit, like \"30 kW\"", |text| {
    Watts::new(base(text, Quantity::Power)?).ok()
});
quantity!(Celsius, "a temperature", "write it with its unit, like \"55 degC\"", |text| {
    Celsius::new(base(text, Quantity::Temperature)?).ok()
});
quantity!(Percent, "a share", "write it like \"30 %\"", |text| Percent::new(base(text, Quantity::Share)?).ok());
quantity!(PercentPerMinute, "a speed", "write it like \"20 %/min\"", |text| {
    let (number, unit) = split(text)?;
    (unit.replace(' ', "") == "%/min").then_some(PercentPerMinute(number))
});
quantity!(Energy, "an amount of energy", "write it with its unit, like \"10000000 kWh\"", |text| {
    let wh = base(text, Quantity::Energy)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range by the check")]
    (wh.fract() == 0.0 && (0.0..=1.8e19).contains(&wh)).then(|| Energy::from_wh(wh as u64))
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("15m", 900_000), ("180s", 180_000), ("500ms", 500), ("1h30m", 5_400_000), ("2 h", 7_200_000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "15", "m", "-5s", "1,5s", "5x", "99999999999d", "1.2.3s", "inf s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_need_their_unit() {
        assert_eq!(base("30 kW", Quantity::Power), Some(30_000.0));
        assert_eq!(base("1.5MW", Quantity::Power), Some(1_500_000.0));
        assert_eq!(base("-5 degC", Quantity::Temperature), Some(-5.0));
        for bad in ["30", "30 kWh", "kW", "", "1,5 kW", "nan kW", "30 kw"] {
            assert_eq!(base(bad, Quantity::Power), None, "{bad}");
        }
    }
}
