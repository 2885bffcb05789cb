//! Names of published weights, and how training treats parameters.

use std::io;

use groundling_nn::checkpoint::{Checkpoint, Rule, absent, ignore, rename, split, within};
use groundling_nn::swin;

/// Names of detectron2's ResNets, behind `backbone.`.
const RESNET: &[Rule] = &[
    rename(r"^stem\.conv1\.norm\.", "bn1."),
    rename(r"^stem\.conv1\.", "conv1."),
    rename(r"^res2\.", "layer1."),
    rename(r"^res3\.", "layer2."),
    rename(r"^res4\.", "layer3."),
    rename(r"^res5\.", "layer4."),
    rename(r"^(layer\d+\.\d+)\.conv(\d)\.norm\.", "$1.bn$2."),
    rename(r"^(layer\d+\.\d+)\.shortcut\.norm\.", "$1.downsample.1."),
    rename(r"^(layer\d+\.\d+)\.shortcut\.", "$1.downsample.0."),
    ignore(r"\.num_batches_tracked$", "a counter that inference never reads"),
];

/// What all layouts share at their end.
const SHARED: &[Rule] = &[
    rename(r"^class_embed\.", "class_heads."),
    rename(r"^bbox_embed\.", "box_heads."),
    rename(r"^transformer\.enc_mask_predictor\.layer1\.0\.", "selector.head.norm."),
    rename(r"^transformer\.enc_mask_predictor\.layer1\.1\.", "selector.head.mix."),
    rename(r"^transformer\.enc_mask_predictor\.layer2\.0\.", "selector.head.reduce."),
    rename(r"^transformer\.enc_mask_predictor\.layer2\.2\.", "selector.head.refine."),
    rename(r"^transformer\.enc_mask_predictor\.layer2\.4\.", "selector.head.out."),
    rename(r"^transformer\.enc_output\.", "proposals.transform."),
    rename(r"^transformer\.enc_output_norm\.", "proposals.norm."),
    split(r"^(.+)\.in_proj_(weight|bias)$", &["$1.q_proj.$2", "$1.k_proj.$2", "$1.v_proj.$2"]),
];

/// Names of the published Focus-DETR weights, and of DINO's in the same framework.
///
/// A head that several parts share stands in the file under each of their names; the shortest is read.
pub const DETREX_KEYS: &[Rule] = &[
    rename(r"^module\.", ""),
    ignore(r"^transformer\.encoder\.enhance_MCSP\.", "another name of the tokens' class head"),
    ignore(r"^enhance_MCSP_layerlist\.", "another name of the tokens' class head"),
    ignore(r"^transformer\.decoder\.(class|bbox)_embed\.", "another name of a head"),
    within("backbone.", RESNET),
    within("backbone.", swin::KEYS),
    absent(r"^backbone\.norm0\.", "the map of stride 4 is not used"),
    rename(r"^neck\.convs\.", "neck.levels."),
    rename(r"^neck\.extra_convs\.0\.", "neck.levels.3."),
    rename(r"^label_enc\.weight$", "label_embedding"),
    rename(r"^transformer\.tgt_embed\.weight$", "query_content"),
    rename(r"^transformer\.level_embeds$", "level_embedding"),
    rename(r"^transformer\.alpha$", "selector.alpha"),
    rename(r"^transformer\.(encoder|decoder)(\.layers\.\d+)\.ffns\.0\.layers\.0\.0\.", "transformer.$1$2.ffn.fc1."),
    rename(r"^transformer\.(encoder|decoder)(\.layers\.\d+)\.ffns\.0\.layers\.1\.", "transformer.$1$2.ffn.fc2."),
    rename(r"^transformer\.encoder(\.layers\.\d+)\.attentions\.0\.attn\.", "encoder$1.fine.attn."),
    // Focus-DETR has the deformable attention second, DINO has nothing else.
    rename(r"^transformer\.encoder(\.layers\.\d+)\.attentions\.[01]\.", "encoder$1.deformable."),
    rename(r"^transformer\.encoder(\.layers\.\d+)\.norm2\.", "encoder$1.fine.norm."),
    rename(r"^transformer\.encoder(\.layers\.\d+)\.norms\.0\.", "encoder$1.norm1."),
    rename(r"^transformer\.encoder(\.layers\.\d+)\.norms\.1\.", "encoder$1.norm2."),
    rename(r"^transformer\.decoder(\.layers\.\d+)\.attentions\.0\.attn\.", "decoder$1.self_attn."),
    rename(r"^transformer\.decoder(\.layers\.\d+)\.attentions\.1\.", "decoder$1.deformable."),
    rename(r"^transformer\.decoder(\.layers\.\d+)\.norms\.0\.", "decoder$1.norm1."),
    rename(r"^transformer\.decoder(\.layers\.\d+)\.norms\.1\.", "decoder$1.norm2."),
    rename(r"^transformer\.decoder(\.layers\.\d+)\.norms\.2\.", "decoder$1.norm3."),
    rename(r"^transformer\.decoder\.ref_point_head\.", "decoder.position."),
    rename(r"^transformer\.decoder\.norm\.", "decoder.norm."),
    rename(r"^transformer\.(encoder|decoder)\.", "$1."),
    within("", SHARED),
];

/// Names of Sparse DETR's transformer and heads.
pub const SPARSE_DETR_KEYS: &[Rule] = &[
    rename(r"^module\.", ""),
    ignore(r"^transformer\.decoder\.(class|bbox)_embed\.", "another name of a head"),
    rename(r"^transformer\.level_embed$", "level_embedding"),
    rename(r"^transformer\.pos_trans\.", "decoder.position.linear."),
    rename(r"^transformer\.pos_trans_norm\.", "decoder.position.norm."),
    rename(r"^transformer\.(encoder|decoder)(\.layers\.\d+)\.linear1\.", "$1$2.ffn.fc1."),
    rename(r"^transformer\.(encoder|decoder)(\.layers\.\d+)\.linear2\.", "$1$2.ffn.fc2."),
    rename(r"^transformer\.encoder(\.layers\.\d+)\.self_attn\.", "encoder$1.deformable."),
    rename(r"^transformer\.decoder(\.layers\.\d+)\.cross_attn\.", "decoder$1.deformable."),
    rename(r"^transformer\.decoder(\.layers\.\d+)\.norm2\.", "decoder$1.norm1."),
    // Only names that still begin with `transformer.` are old ones.
    rename(r"^transformer\.decoder(\.layers\.\d+)\.norm1\.", "decoder$1.norm2."),
    rename(r"^transformer\.(encoder|decoder)\.", "$1."),
    within("", SHARED),
];

/// Names under which a checkpoint of [`DETREX_KEYS`] holds other values for a shared head than under the name that is read; empty for files
/// that the released code has written. Say so to whoever imports it.
///
/// # Errors
/// If the file cannot be read any more.
pub fn unequal_aliases(checkpoint: &Checkpoint) -> io::Result<Vec<String>> {
    let tensors = checkpoint.tensors();
    let heads = (0..).take_while(|index| tensors.contains_key(&format!("class_embed.{index}.weight"))).count();
    let canonical = |name: &str| {
        let shared = name.strip_prefix("transformer.encoder.enhance_MCSP.");
        let shared = shared.or_else(|| name.strip_prefix("enhance_MCSP_layerlist."));
        match shared.and_then(|rest| rest.split_once('.')) {
            Some((_, part)) => Some(format!("class_embed.{}.{part}", heads.checked_sub(1)?)),
            None => {
                let head = name.strip_prefix("transformer.decoder.")?;
                let is_head = head.starts_with("class_embed.") || head.starts_with("bbox_embed.");
                is_head.then(|| head.to_owned())
            }
        }
    };
    let mut unequal = Vec::new();
    for (name, tensor) in tensors {
        let Some(read) = canonical(name) else { continue };
        let same = match tensors.get(&read) {
            Some(read) => tensor.shape() == read.shape() && tensor.read_f32()? == read.read_f32()?,
            None => false,
        };
        if !same {
            unequal.push(name.clone());
        }
    }
    Ok(unequal)
}

/// Whether a parameter of our files is part of the image backbone, which learns ten times slower.
pub fn in_backbone(name: &str) -> bool {
    name.starts_with("backbone.")
}

/// Whether a parameter of our files decays: all but those of norms.
pub fn decays(name: &str) -> bool {
    let owner = name.rsplit_once('.').map_or("", |(owner, _)| owner);
    let layer = owner.rsplit('.').next().unwrap_or("");
    let is_norm = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()) == "norm" || name.starts_with("bn");
    !(is_norm(layer) || owner.ends_with(".downsample.1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundling_nn::checkpoint::{StoredTensor, destinations};

    #[test]
    fn names_go_where_they_belong() {
        for (foreign, own) in [
            ("backbone.stem.conv1.norm.running_var", "backbone.bn1.running_var"),
            ("backbone.res4.0.shortcut.norm.bias", "backbone.layer3.0.downsample.1.bias"),
            ("backbone.layers.0.blocks.1.attn.qkv.weight", "backbone.layers.0.blocks.1.attn.qkv.weight"),
            ("neck.extra_convs.0.norm.weight", "neck.levels.3.norm.weight"),
            ("transformer.encoder.layers.2.norm2.weight", "encoder.layers.2.fine.norm.weight"),
            ("transformer.encoder.layers.2.norms.1.weight", "encoder.layers.2.norm2.weight"),
            (
                "transformer.encoder.layers.2.attentions.0.value_proj.bias",
                "encoder.layers.2.deformable.value_proj.bias",
            ),
            ("transformer.decoder.layers.0.ffns.0.layers.0.0.bias", "decoder.layers.0.ffn.fc1.bias"),
        ] {
            assert_eq!(destinations(foreign, DETREX_KEYS).unwrap(), [own]);
        }
        let norm = destinations("transformer.decoder.layers.1.norm2.bias", SPARSE_DETR_KEYS).unwrap();
        assert_eq!(norm, ["decoder.layers.1.norm1.bias"]);
    }

    #[test]
    fn other_names_of_a_head_hold_the_same() {
        let tensor = |value: f32| StoredTensor::from_values([2], vec![value, 1.0]);
        let named = |name: &str, value| (name.to_owned(), tensor(value));
        let mut tensors = vec![
            named("class_embed.0.weight", 1.0),
            named("class_embed.1.weight", 2.0),
            named("transformer.decoder.class_embed.0.weight", 1.0),
            named("transformer.encoder.enhance_MCSP.0.weight", 2.0),
            named("enhance_MCSP_layerlist.5.weight", 2.0),
        ];
        let unequal =
            |tensors: &[(String, StoredTensor)]| unequal_aliases(&Checkpoint::from_tensors(tensors.to_vec())).unwrap();
        assert!(unequal(&tensors).is_empty());
        tensors[4].1 = tensor(1.0);
        tensors.push(named("transformer.decoder.bbox_embed.0.layers.0.bias", 1.0));
        assert_eq!(
            unequal(&tensors),
            ["enhance_MCSP_layerlist.5.weight", "transformer.decoder.bbox_embed.0.layers.0.bias"]
        );
    }

    #[test]
    fn norms_do_not_decay() {
        for name in ["neck.levels.0.norm.weight", "decoder.layers.0.norm3.bias", "encoder.layers.1.fine.norm.weight"] {
            assert!(!decays(name), "{name}");
        }
        for name in ["decoder.layers.0.ffn.fc1.bias", "level_embedding", "selector.alpha"] {
            assert!(decays(name), "{name}");
        }
        assert!(in_backbone("backbone.conv1.weight") && !in_backbone("neck.levels.0.conv.bias"));
    }
}
