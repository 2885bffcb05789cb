//! Key tables: how the names of a checkpoint become the names of a module.

use regex::Regex;

use super::CheckpointError;
use super::pieces::Piece;

/// One line of a key table.
///
/// A name of the checkpoint walks the table from top to bottom. [`rename`] changes it and the walk goes on with the new name, so
/// renames chain; the first [`split`], [`distribute`] or [`ignore`] that matches ends the walk; what no rule takes keeps its name. The other
/// rules speak about names of the *module*: [`absent`] lists parameters that a checkpoint may lack, [`adapt`] says how a
/// tensor of another shape is made to fit, the first that matches each.
///
/// Patterns are regular expressions and match anywhere unless anchored; write `^` and `$`. Replacements know `$1` and
/// `${name}`; write `${1}_x` where a letter, digit or underscore follows.
///
/// Names of the module are its fields joined by dots, as PyTorch would name them: the weight and bias of a norm, whatever burn
/// calls them. Weights of burn's linear layers are transposed because the layer is one, never because of a shape.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Rule {
    /// See [`rename`].
    Rename {
        /// What to find.
        pattern: &'static str,
        /// What to put there.
        replacement: &'static str,
    },
    /// See [`split`].
    Split {
        /// What to find.
        pattern: &'static str,
        /// Names of the parts.
        targets: &'static [&'static str],
    },
    /// See [`distribute`].
    Distribute {
        /// What to find.
        pattern: &'static str,
        /// What goes where.
        pieces: &'static [Piece],
    },
    /// See [`ignore`].
    Ignore {
        /// What to find.
        pattern: &'static str,
        /// Why it is not needed.
        reason: &'static str,
    },
    /// See [`absent`].
    Absent {
        /// What to find among the module's names.
        pattern: &'static str,
        /// Why a checkpoint may lack it.
        reason: &'static str,
    },
    /// See [`adapt`].
    Adapt {
        /// What to find among the module's names.
        pattern: &'static str,
        /// How it is made to fit.
        with: &'static Adaptation,
    },
    /// See [`within`].
    Within {
        /// Beginning of the names.
        prefix: &'static str,
        /// The table for the rest of the name.
        rules: &'static [Rule],
    },
}

/// Replaces the first match of the pattern in the name.
pub const fn rename(pattern: &'static str, replacement: &'static str) -> Rule {
    Rule::Rename { pattern, replacement }
}

/// Cuts a tensor into equal parts along axis 0, one for each target name, in order. The whole name is replaced.
pub const fn split(pattern: &'static str, targets: &'static [&'static str]) -> Rule {
    Rule::Split { pattern, targets }
}

/// Sends a tensor, or rows of it, to one or several parameters, each of which it may share with other tensors: as a part along axis 0,
/// or as a term of a sum. The whole name is replaced.
pub const fn distribute(pattern: &'static str, pieces: &'static [Piece]) -> Rule {
    Rule::Distribute { pattern, pieces }
}

/// Leaves a tensor of the checkpoint unused, and says why.
pub const fn ignore(pattern: &'static str, reason: &'static str) -> Rule {
    Rule::Ignore { pattern, reason }
}

/// Lets a parameter of the module keep its initial value if the checkpoint lacks it, and says why.
pub const fn absent(pattern: &'static str, reason: &'static str) -> Rule {
    Rule::Absent { pattern, reason }
}

/// Whether one of the rules lets a checkpoint lack the parameter of this name.
///
/// # Errors
/// If a pattern is none.
pub fn may_lack(rules: &[Rule], name: &str) -> Result<bool, CheckpointError> {
    Ok(Table::compile(rules)?.may_lack(name).is_some())
}

/// Makes a tensor of another shape fit a parameter of the module.
pub const fn adapt(pattern: &'static str, with: &'static Adaptation) -> Rule {
    Rule::Adapt { pattern, with }
}

/// Applies a table to the part of the name behind `prefix`, a plain text such as `"text_encoder."`. Every rule of the inner table
/// sees names without the prefix, those of the module too, so that the table of a part serves the whole.
pub const fn within(prefix: &'static str, rules: &'static [Rule]) -> Rule {
    Rule::Within { prefix, rules }
}

/// Makes values of the shape `to` of values of the shape `from`.
pub type Apply = fn(values: Vec<f32>, from: &[usize], to: &[usize]) -> Vec<f32>;

/// How values of one shape become values of another.
pub struct Adaptation {
    /// What it does, for the report: "bicubic resize of the bias table".
    pub name: &'static str,
    /// Whether it can go from the first shape to the second, both as the file has them.
    pub accepts: fn(from: &[usize], to: &[usize]) -> bool,
    /// Makes the values; called only where `accepts` says yes.
    pub apply: Apply,
}

impl std::fmt::Debug for Adaptation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Adaptation({})", self.name)
    }
}

/// The same numbers in another shape: a 1 x 1 convolution as a linear layer, for example.
pub static RESHAPE: Adaptation = Adaptation {
    name: "same numbers, other shape",
    accepts: |from, to| from.iter().product::<usize>() == to.iter().product::<usize>(),
    apply: |values, _, _| values,
};

/// Where a name of the checkpoint goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    To(String),
    Parts(Vec<String>),
    Pieces(Vec<(String, Piece)>),
    Ignored(&'static str),
}

/// A table with its patterns compiled.
pub(crate) struct Table(Vec<Compiled>);

enum Compiled {
    Rename(Regex, &'static str),
    Split(Regex, &'static [&'static str]),
    Distribute(Regex, &'static [Piece]),
    Ignore(Regex, &'static str),
    Absent(Regex, &'static str),
    Adapt(Regex, &'static Adaptation),
    Within(&'static str, Table),
}

impl Table {
    pub(crate) fn compile(rules: &[Rule]) -> Result<Self, CheckpointError> {
        let one = |rule: &Rule| -> Result<Compiled, CheckpointError> {
            Ok(match *rule {
                Rule::Rename { pattern, replacement } => {
                    let regex = compile(pattern)?;
                    check_groups(&regex, replacement)?;
                    Compiled::Rename(regex, replacement)
                }
                Rule::Split { pattern, targets } => {
                    let regex = compile(pattern)?;
                    targets.iter().try_for_each(|target| check_groups(&regex, target))?;
                    if targets.is_empty() {
                        return Err(bad(pattern, "it splits into no parts"));
                    }
                    Compiled::Split(regex, targets)
                }
                Rule::Distribute { pattern, pieces } => {
                    let regex = compile(pattern)?;
                    pieces.iter().try_for_each(|piece| check_groups(&regex, piece.target))?;
                    if pieces.is_empty() {
                        return Err(bad(pattern, "it goes nowhere"));
                    }
                    if let Some(problem) = pieces.iter().find_map(Piece::problem) {
                        return Err(bad(pattern, problem));
                    }
                    Compiled::Distribute(regex, pieces)
                }
                Rule::Ignore { pattern, reason } => Compiled::Ignore(compile(pattern)?, said(pattern, reason)?),
                Rule::Absent { pattern, reason } => Compiled::Absent(compile(pattern)?, said(pattern, reason)?),
                Rule::Adapt { pattern, with } => Compiled::Adapt(compile(pattern)?, with),
                Rule::Within { prefix, rules } => Compiled::Within(prefix, Self::compile(rules)?),
            })
        };
        rules.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Where a tensor of the checkpoint goes.
    pub(crate) fn walk(&self, name: &str) -> Outcome {
        let mut name = name.to_owned();
        for rule in &self.0 {
            match rule {
                Compiled::Rename(regex, replacement) => name = regex.replace(&name, *replacement).into_owned(),
                Compiled::Split(regex, targets) => {
                    if let Some(captures) = regex.captures(&name) {
                        return Outcome::Parts(targets.iter().map(|target| expanded(&captures, target)).collect());
                    }
                }
                Compiled::Distribute(regex, pieces) => {
                    if let Some(captures) = regex.captures(&name) {
                        let piece = |piece: &Piece| (expanded(&captures, piece.target), *piece);
                        return Outcome::Pieces(pieces.iter().map(piece).collect());
                    }
                }
                Compiled::Ignore(regex, reason) if regex.is_match(&name) => return Outcome::Ignored(reason),
                Compiled::Within(prefix, table) => {
                    let Some(rest) = name.strip_prefix(prefix) else { continue };
                    let whole = |part: String| format!("{prefix}{part}");
                    match table.walk(rest) {
                        Outcome::To(rest) => name = whole(rest),
                        Outcome::Parts(parts) => return Outcome::Parts(parts.into_iter().map(whole).collect()),
                        Outcome::Pieces(pieces) => {
                            let whole = |(name, piece): (String, Piece)| (whole(name), piece);
                            return Outcome::Pieces(pieces.into_iter().map(whole).collect());
                        }
                        ignored => return ignored,
                    }
                }
                Compiled::Ignore(..) | Compiled::Absent(..) | Compiled::Adapt(..) => {}
            }
        }
        Outcome::To(name)
    }

    /// Why a parameter of the module may be missing, if it may.
    pub(crate) fn may_lack(&self, name: &str) -> Option<&'static str> {
        self.0.iter().find_map(|rule| match rule {
            Compiled::Absent(regex, reason) => regex.is_match(name).then_some(*reason),
            Compiled::Within(prefix, table) => table.may_lack(name.strip_prefix(prefix)?),
            _ => None,
        })
    }

    /// How a tensor of shape `from` is made to fit a parameter of shape `to`, if a rule says so.
    pub(crate) fn adaptation(&self, name: &str, from: &[usize], to: &[usize]) -> Option<&'static Adaptation> {
        self.0.iter().find_map(|rule| match rule {
            Compiled::Adapt(regex, with) => (regex.is_match(name) && (with.accepts)(from, to)).then_some(*with),
            Compiled::Within(prefix, table) => table.adaptation(name.strip_prefix(prefix)?, from, to),
            _ => None,
        })
    }
}

fn expanded(captures: &regex::Captures<'_>, target: &str) -> String {
    let mut name = String::new();
    captures.expand(target, &mut name);
    name
}

fn compile(pattern: &str) -> Result<Regex, CheckpointError> {
    Regex::new(pattern).map_err(|error| bad(pattern, &error.to_string()))
}

fn said(pattern: &str, reason: &'static str) -> Result<&'static str, CheckpointError> {
    if reason.trim().is_empty() { Err(bad(pattern, "it states no reason")) } else { Ok(reason) }
}

/// A reference to a group that does not exist would silently become nothing.
fn check_groups(regex: &Regex, replacement: &str) -> Result<(), CheckpointError> {
    let mut rest = replacement;
    while let Some((_, after)) = rest.split_once('$') {
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
            continue;
        }
        let (name, after) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or((braced, "")),
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        let known = match name.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => regex.capture_names().flatten().any(|known| known == name),
        };
        if !known {
            return Err(bad(replacement, &format!("`{}` has no group `{name}`", regex.as_str())));
        }
        rest = after;
    }
    Ok(())
}

fn bad(rule: &str, problem: &str) -> CheckpointError {
    CheckpointError::BadRule { rule: rule.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: &[Rule] = &[
        rename(r"\.gamma$", ".weight"),
        ignore(r"^cls\.", "a head for another task"),
        absent(r"^pooler\.", "only some have it"),
    ];
    const KEYS: &[Rule] = &[
        rename(r"^module\.", ""),
        rename(r"^a\.", "b."),
        rename(r"^b\.", "c."),
        within("text.", INNER),
        split(r"^(.+)\.in_proj_(weight|bias)$", &["$1.q_proj.$2", "$1.k_proj.$2", "$1.v_proj.$2"]),
        ignore(r"\.num_batches_tracked$", "a counter that inference never reads"),
        adapt(r"\.proj\.weight$", &RESHAPE),
    ];

    fn to(name: &str) -> Outcome {
        Outcome::To(name.to_owned())
    }

    #[test]
    fn renames_chain_and_the_rest_ends_the_walk() {
        let table = Table::compile(KEYS).unwrap();
        assert_eq!(table.walk("module.a.weight"), to("c.weight"));
        assert_eq!(table.walk("z.module.weight"), to("z.module.weight"));
        let parts = ["x.q_proj.bias", "x.k_proj.bias", "x.v_proj.bias"].map(str::to_owned).to_vec();
        assert_eq!(table.walk("x.in_proj_bias"), Outcome::Parts(parts));
        assert!(matches!(table.walk("module.bn.num_batches_tracked"), Outcome::Ignored(_)));
    }

    #[test]
    fn a_table_serves_inside_another() {
        let table = Table::compile(KEYS).unwrap();
        assert_eq!(table.walk("module.text.norm.gamma"), to("text.norm.weight"));
        assert_eq!(table.walk("other.norm.gamma"), to("other.norm.gamma"));
        assert!(matches!(table.walk("text.cls.bias"), Outcome::Ignored("a head for another task")));
        assert_eq!(table.may_lack("text.pooler.weight"), Some("only some have it"));
        assert_eq!(table.may_lack("pooler.weight"), None);
    }

    #[test]
    fn shapes_that_differ_need_a_rule() {
        let table = Table::compile(KEYS).unwrap();
        assert!(table.adaptation("x.proj.weight", &[4, 3, 1, 1], &[4, 3]).is_some());
        assert!(table.adaptation("x.proj.weight", &[4, 4, 1, 1], &[4, 3]).is_none());
        assert!(table.adaptation("x.other.weight", &[4, 3, 1, 1], &[4, 3]).is_none());
    }

    #[test]
    fn tables_are_checked() {
        const EMPTY: &[Piece] = &[Piece::to("b").rows(2, 2)];
        const FOURTH: &[Piece] = &[Piece::to("b").part(3, 3)];
        const UNKNOWN: &[Piece] = &[Piece::to("b$1")];
        const UNKNOWN_NAME: &[Rule] = &[rename("^(?<name>a)", "${named}")];
        for (rule, problem) in [
            (rename("(", ""), "unclosed group"),
            (rename("^a", "$1"), "no group `1`"),
            (rename("^(a)", "$1_x"), "no group `1_x`"),
            (split("^a", &[]), "no parts"),
            (ignore("^a", " "), "no reason"),
            (distribute("^a", &[]), "goes nowhere"),
            (distribute("^a", EMPTY), "no rows"),
            (distribute("^a", FOURTH), "not below"),
            (distribute("^a", UNKNOWN), "no group `1`"),
            (within("x.", UNKNOWN_NAME), "no group `named`"),
        ] {
            let error = Table::compile(&[rule]).err().unwrap().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(Table::compile(&[rename("^(a)", "${1}_x$$"), rename("(?<n>a)", "${n}")]).is_ok());
    }
}
