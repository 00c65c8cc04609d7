//! Which known word was meant: the one with the fewest letters to change.

/// The nearest candidate, if at most a third of the word's letters differ.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = candidates.map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= word.len() / 3).min().map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: insertions, deletions and replacements of one letter (its row-by-row form).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changed_letters() {
        for (from, to, want) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ports", "port", 1), ("ab", "ba", 2)]
        {
            assert_eq!((distance(from, to), distance(to, from)), (want, want), "{from} {to}");
        }
    }

    #[test]
    fn what_is_too_far_from_everything_has_no_nearest() {
        let known = || ["proxy-cpu-limit", "proxy-cpu-request", "inject"].into_iter();
        assert_eq!(nearest("proxy-cpu-limits", known()), Some("proxy-cpu-limit"));
        assert_eq!(nearest("injct", known()), Some("inject"));
        assert_eq!(nearest("colour", known()), None);
        assert_eq!(nearest("", known()), None);
    }
}
