//! "Did you mean": the known word that is nearest to a mistyped one.

/// Help for a word that is not known: the nearest known one, or all of them.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().filter(|k| !k.is_empty()).collect();
    known.sort_unstable();
    known.dedup();
    let lower = word.to_lowercase();
    let nearest = known.iter().map(|k| (distance(&lower, &k.to_lowercase()), *k)).min();
    match nearest {
        Some((steps, best)) if steps <= 1 + word.chars().count() / 4 => format!("did you mean `{best}`?"),
        None => "nothing of the kind is defined".to_owned(),
        _ if known.len() > 40 => format!("there are {} to choose from", known.len()),
        _ => format!("known: {}", known.join(", ")),
    }
}

/// Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, window) in b.iter().zip(row.windows(2)) {
            let (diagonal, above) = (window.first().copied().unwrap_or(0), window.last().copied().unwrap_or(0));
            left = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, steps) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("unit_id", "unitid", 1)] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
            assert_eq!(distance(b, a), steps, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_word_or_all() {
        assert_eq!(did_you_mean("hetaers", ["heaters", "meter"]), "did you mean `heaters`?");
        assert_eq!(did_you_mean("xyz", ["heaters", "meter"]), "known: heaters, meter");
        assert_eq!(did_you_mean("x", []), "nothing of the kind is defined");
    }
}
