//! Which names look alike.

/// The most similar name, if it is similar at all.
pub(crate) fn nearest<'a>(name: &str, others: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 4).max(2);
    let scored = others.into_iter().filter_map(|other| {
        let distance = distance(name, other, allowed)?;
        Some((distance, other))
    });
    scored.min().map(|(_, other)| other)
}

/// Levenshtein distance, `None` above `allowed` or for names too long to bother.
fn distance(a: &str, b: &str, allowed: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > allowed || a.len().max(b.len()) > 200 {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
        if row.iter().all(|&cost| cost > allowed) {
            return None;
        }
    }
    row.last().copied().filter(|&cost| cost <= allowed)
}

/// The beginning that would turn every one of `missing` into one of `unused`, if there is one such text.
pub(crate) fn common_prefix(missing: &[String], unused: &[String]) -> Option<String> {
    let first = missing.first()?;
    let unused: std::collections::BTreeSet<&str> = unused.iter().map(String::as_str).collect();
    unused.iter().filter_map(|name| name.strip_suffix(first.as_str())).find_map(|prefix| {
        let all = !prefix.is_empty() && missing.iter().all(|name| unused.contains(format!("{prefix}{name}").as_str()));
        all.then(|| prefix.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        let names = ["x.weight", "x.bias", "layer.norm.weight"];
        assert_eq!(nearest("x.weigth", names), Some("x.weight"));
        assert_eq!(nearest("layers.norm.weight", names), Some("layer.norm.weight"));
        assert_eq!(nearest("something.else", names), None);
        assert_eq!(distance("kitten", "sitting", 9), Some(3));
        assert_eq!(distance("kitten", "sitting", 2), None);
    }

    #[test]
    fn prefixes() {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let unused = names(&["bert.a.weight", "bert.b.bias", "cls.bias"]);
        assert_eq!(common_prefix(&names(&["a.weight", "b.bias"]), &unused), Some("bert.".into()));
        assert_eq!(common_prefix(&names(&["a.weight", "c.bias"]), &unused), None);
    }
}
