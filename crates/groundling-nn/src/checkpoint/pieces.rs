//! Rows of tensors that go to several parameters, and parameters that several tensors make up.

use super::ElementType;

/// Rows of a tensor on their way to a parameter.
///
/// Rows are those of the matrix that all axes but the last make together: `[1, 145, 768]` has 145 of them. A parameter may need
/// [`adapt`](super::adapt) for the shape `[rows, last axis]` that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Name of the parameter; knows the groups of the pattern.
    pub(crate) target: &'static str,
    /// First row and the row after the last, `None` for all that there are. Without it the tensor goes as it is.
    pub(crate) rows: Option<(usize, Option<usize>)>,
    pub(crate) role: Role,
}

/// What a piece is to its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// All of it.
    Whole,
    /// One of several equal parts along axis 0.
    Part { index: usize, of: usize },
    /// One of several that are added up.
    Term { of: usize },
}

impl Piece {
    /// The whole tensor for the whole parameter of this name.
    pub const fn to(target: &'static str) -> Self {
        Self { target, rows: None, role: Role::Whole }
    }

    /// Only these rows.
    pub const fn rows(self, start: usize, end: usize) -> Self {
        Self { rows: Some((start, Some(end))), ..self }
    }

    /// Only the rows from here on.
    pub const fn rows_from(self, start: usize) -> Self {
        Self { rows: Some((start, None)), ..self }
    }

    /// It is one of several equal parts of the parameter along axis 0, in the order of their index.
    pub const fn part(self, index: usize, of: usize) -> Self {
        Self { role: Role::Part { index, of }, ..self }
    }

    /// The parameter is the sum of so many pieces, this is one.
    pub const fn term(self, of: usize) -> Self {
        Self { role: Role::Term { of }, ..self }
    }

    /// Why it can be no piece, if it cannot.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match (self.rows, self.role) {
            (Some((start, Some(end))), _) if start >= end => Some("a piece has no rows"),
            (_, Role::Part { index, of }) if index >= of => Some("a part's index is not below the number of parts"),
            (_, Role::Term { of: 0 }) => Some("a sum has no terms"),
            _ => None,
        }
    }
}

/// A tensor of the checkpoint, or rows of it, that a parameter asks for.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) tensor: String,
    /// First number and how many, `None` for all.
    pub(crate) numbers: Option<(usize, usize)>,
    pub(crate) role: Role,
    pub(crate) shape: Vec<usize>,
    pub(crate) element: ElementType,
}

impl Claim {
    /// The rows of a piece; `None` if the tensor has no such rows.
    pub(crate) fn cut(&self, piece_rows: Option<(usize, Option<usize>)>, role: Role) -> Option<Self> {
        let Some((start, end)) = piece_rows else { return Some(Self { role, ..self.clone() }) };
        let (&width, outer) = self.shape.split_last()?;
        let rows: usize = outer.iter().product();
        let end = end.unwrap_or(rows);
        let inside = start < end && end <= rows;
        inside.then(|| Self {
            numbers: Some((start * width, (end - start) * width)),
            role,
            shape: vec![end - start, width],
            ..self.clone()
        })
    }
}

/// What goes into one parameter: the claims in order, and the shape they make.
pub(crate) struct Made {
    pub(crate) claims: Vec<Claim>,
    pub(crate) shape: Vec<usize>,
}

/// Why claims make no parameter.
pub(crate) enum Unmade {
    /// Several claim the same.
    Twice(Vec<String>),
    /// Parts or terms are not there.
    Lacking(String),
    /// A piece is of another shape than the first.
    Unequal(Box<Claim>, Vec<usize>),
}

/// Puts the claims for one parameter together; there is at least one.
pub(crate) fn put_together(mut claims: Vec<Claim>) -> Result<Made, Unmade> {
    let twice = |claims: &[Claim]| Unmade::Twice(claims.iter().map(|claim| claim.tensor.clone()).collect());
    let first = claims[0].clone();
    let of = match first.role {
        Role::Whole => 1,
        Role::Part { of, .. } | Role::Term { of } => of,
    };
    let alike = |claim: &Claim| match (first.role, claim.role) {
        (Role::Part { of, .. }, Role::Part { of: other, .. }) | (Role::Term { of }, Role::Term { of: other }) => {
            of == other
        }
        _ => false,
    };
    if claims.len() > of || (claims.len() > 1 && !claims.iter().all(alike)) {
        return Err(twice(&claims));
    }
    claims.sort_by_key(|claim| match claim.role {
        Role::Part { index, .. } => index,
        _ => 0,
    });
    if claims.windows(2).any(|pair| matches!(pair[0].role, Role::Part { .. }) && pair[0].role == pair[1].role) {
        return Err(twice(&claims));
    }
    if claims.len() < of {
        let there: Vec<&str> = claims.iter().map(|claim| claim.tensor.as_str()).collect();
        return Err(Unmade::Lacking(format!("{} of {of} pieces, {}", there.len(), there.join(" and "))));
    }
    let mut shape = claims[0].shape.clone();
    if let Some(other) = claims.iter().find(|claim| claim.shape != shape) {
        return Err(Unmade::Unequal(Box::new(other.clone()), shape));
    }
    if let (Role::Part { of, .. }, Some(rows)) = (first.role, shape.first_mut()) {
        *rows *= of;
    }
    Ok(Made { claims, shape })
}

/// The numbers of the claims as one tensor, given those of each.
pub(crate) fn combine(role: Role, parts: Vec<Vec<f32>>) -> Vec<f32> {
    match role {
        Role::Term { .. } => {
            let mut parts = parts.into_iter();
            let first = parts.next().unwrap_or_default();
            parts.fold(first, |sum, part| sum.into_iter().zip(part).map(|(a, b)| a + b).collect())
        }
        Role::Whole | Role::Part { .. } => parts.concat(),
    }
}
