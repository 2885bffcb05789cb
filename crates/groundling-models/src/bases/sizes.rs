//! Checks of sizes.

use groundling_nn::bert::BertConfig;

use crate::backbone::BackboneConfig;
use crate::contract::ConfigError;

/// Beyond this, products of sizes would not fit their type.
const MOST: usize = 1 << 20;

/// # Errors
/// Naming the first size that is not between its least and [`MOST`].
pub(crate) fn check_numbers(sizes: &[(&'static str, usize, usize)]) -> Result<(), ConfigError> {
    match sizes.iter().find(|&&(_, size, least)| size < least || size > MOST) {
        Some(&(field, found, least)) => {
            Err(ConfigError { field, found: found.to_string(), expected: format!("{least} to {MOST}") })
        }
        None => Ok(()),
    }
}

/// # Errors
/// If the heads do not divide the width, the width is odd in its half, or the dropout is no share.
pub(crate) fn check_transformer(dim: usize, heads: usize, dropout: f64) -> Result<(), ConfigError> {
    if heads == 0 || !dim.is_multiple_of(heads) {
        let expected = format!("a divisor of the width {dim}");
        return Err(ConfigError { field: "heads", found: heads.to_string(), expected });
    }
    if !dim.is_multiple_of(4) {
        return Err(ConfigError { field: "dim", found: dim.to_string(), expected: "a multiple of 4".to_owned() });
    }
    if !(0.0..1.0).contains(&dropout) {
        let expected = "at least 0 and below 1".to_owned();
        return Err(ConfigError { field: "dropout", found: dropout.to_string(), expected });
    }
    Ok(())
}

/// # Errors
/// If a phrase encoder of these sizes cannot be, or is too short for phrases of `max_text` tokens.
pub(crate) fn check_bert(bert: &BertConfig, max_text: usize) -> Result<(), ConfigError> {
    check_numbers(&[
        ("bert.vocabulary", bert.vocabulary, 1),
        ("bert.width", bert.width, 1),
        ("bert.layers", bert.layers, 1),
        ("bert.feed_forward", bert.feed_forward, 1),
        ("bert.positions", bert.positions, max_text),
        ("bert.token_types", bert.token_types, 1),
    ])?;
    let bad = |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
    if bert.heads == 0 || !bert.width.is_multiple_of(bert.heads) {
        return bad("bert.heads", bert.heads.to_string(), "a divisor of the width");
    }
    if !(0.0..1.0).contains(&bert.dropout) {
        return bad("bert.dropout", bert.dropout.to_string(), "at least 0 and below 1");
    }
    if !(bert.epsilon > 0.0 && bert.epsilon < 1.0) {
        return bad("bert.epsilon", bert.epsilon.to_string(), "between 0 and 1");
    }
    if bert.pooler {
        return bad("bert.pooler", "true".to_owned(), "false: the tokens are used, not the pooled vector");
    }
    Ok(())
}

/// # Errors
/// If a backbone of these sizes cannot be or has no such stage, or pictures of this side are no whole number of cells of its map or too small
/// for it.
pub(crate) fn check_backbone(backbone: &BackboneConfig, stage: usize, image_size: usize) -> Result<(), ConfigError> {
    backbone.check()?;
    let bad = |expected| Err(ConfigError { field: "image_size", found: image_size.to_string(), expected });
    let Some(&stride) = backbone.strides().get(stage) else {
        return Err(ConfigError { field: "stage", found: stage.to_string(), expected: "0 to 3".to_owned() });
    };
    if !image_size.is_multiple_of(stride) {
        return bad(format!("a multiple of {stride}, the stride of the map that is read"));
    }
    match backbone.fits([image_size; 2]) {
        Ok(()) => Ok(()),
        Err(error) => bad(format!("at least {}, which the backbone reduces to something", error.least)),
    }
}

/// The stage of a backbone that published models read.
pub(crate) fn last_stage() -> usize {
    3
}
