//! Checks of sizes.

use groundling_nn::bert::BertConfig;
use groundling_nn::resnet::ResNetConfig;
use groundling_nn::swin::SwinConfig;

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
/// If a ResNet of these sizes cannot be.
pub(super) fn check_resnet(backbone: &ResNetConfig) -> Result<(), ConfigError> {
    check_numbers(&[("backbone.width", backbone.width, 1)])?;
    let bad = |field, found: String, expected: String| Err(ConfigError { field, found, expected });
    if backbone.layers.iter().any(|&layers| !(1..=1000).contains(&layers)) {
        return bad("backbone.layers", format!("{:?}", backbone.layers), "1 to 1000 each".to_owned());
    }
    if backbone.classes.is_some() {
        return bad("backbone.classes", format!("{:?}", backbone.classes), "none: the maps are used".to_owned());
    }
    if !(backbone.epsilon > 0.0 && backbone.epsilon < 1.0) {
        return bad("backbone.epsilon", backbone.epsilon.to_string(), "between 0 and 1".to_owned());
    }
    if backbone.dilate_last && backbone.block != groundling_nn::resnet::BlockKind::Bottleneck {
        return bad("backbone.dilate_last", "true".to_owned(), "false: only bottlenecks are dilated".to_owned());
    }
    Ok(())
}

/// # Errors
/// If a Swin of these sizes cannot be, or does not read pictures of three channels in patches of 4 pixels.
pub(crate) fn check_swin(backbone: &SwinConfig) -> Result<(), ConfigError> {
    check_numbers(&[("backbone.embed_dim", backbone.embed_dim, 1), ("backbone.window", backbone.window, 1)])?;
    let bad = |field, found: String, expected: String| Err(ConfigError { field, found, expected });
    if backbone.patch != 4 || backbone.in_channels != 3 {
        let found = format!("{} and {}", backbone.patch, backbone.in_channels);
        return bad("backbone.patch", found, "patches of 4 pixels of 3 channels".to_owned());
    }
    if backbone.depths.iter().any(|&depth| !(1..=1000).contains(&depth)) {
        return bad("backbone.depths", format!("{:?}", backbone.depths), "1 to 1000 each".to_owned());
    }
    let heads = backbone.heads.iter().zip(backbone.channels());
    if heads.into_iter().any(|(&heads, channels)| heads == 0 || !channels.is_multiple_of(heads)) {
        let expected = format!("divisors of {:?}", backbone.channels());
        return bad("backbone.heads", format!("{:?}", backbone.heads), expected);
    }
    for (field, share) in [("backbone.drop_path", backbone.drop_path), ("backbone.epsilon", backbone.epsilon)] {
        if !(0.0..1.0).contains(&share) {
            return bad(field, share.to_string(), "at least 0 and below 1".to_owned());
        }
    }
    if !(backbone.mlp_ratio > 0.0 && backbone.mlp_ratio <= 64.0) {
        return bad("backbone.mlp_ratio", backbone.mlp_ratio.to_string(), "above 0, at most 64".to_owned());
    }
    Ok(())
}
