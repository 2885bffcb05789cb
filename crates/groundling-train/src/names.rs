//! Classes are joined by their names: of several sources with one another, and of a source to evaluate on with those that are trained.

use crate::recipe::RecipeError;

/// The number of each name among those known so far; names that are new are added.
pub(crate) fn numbered(names: &[String], known: &mut Vec<String>) -> Vec<usize> {
    let number = |name: &String| match known.iter().position(|other| other == name) {
        Some(number) => number,
        None => {
            known.push(name.clone());
            known.len() - 1
        }
    };
    names.iter().map(number).collect()
}

/// The first names of a list.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
}

/// Checks that the source to evaluate on has no class that is not trained, which could never be found.
pub(crate) fn only_known(source: &str, names: &[String], known: &[String]) -> Result<(), RecipeError> {
    let Some(unknown) = names.iter().find(|name| !known.contains(name)) else { return Ok(()) };
    Err(RecipeError::Value {
        key: "validation.source".to_owned(),
        found: format!("{source}, which has the class {unknown:?}"),
        expected: format!("a source with no other classes than the data: {}", listed(known)),
    })
}
