//! Key tables of the released checkpoints, which hold the network under `model` and BERT under `bert_model`.

use groundling_nn::checkpoint::{RESHAPE, Rule, absent, adapt, ignore, rename, within};
use groundling_nn::{bert, resnet, swin, transformer};

use super::config::Backbone;
use crate::backbone::focus_detr_layout;
use crate::contract::Layout;
use crate::scalablevit::CLASSIFIER_TO_DENSE_KEYS;

/// Of the fusion at one stage.
pub const MBA_KEYS: &[Rule] = &[
    rename(r"^fusion\.", ""),
    rename(r"^image_lang_att\.", ""),
    rename(r"^vis_project\.0\.", "visual_project."),
    rename(r"^project_mm\.0\.", "joint_project."),
    rename(r"^f_value\.0\.", "text_value."),
    rename(r"^f_value_v\.0\.", "visual_value."),
    rename(r"^W\.0\.", "visual_out."),
    rename(r"^W2\.0\.", "text_out."),
    rename(r"^W_l\.0\.", "text_update."),
    rename(r"^res_gate\.0\.", "gate_in."),
    rename(r"^res_gate\.2\.", "gate_out."),
    rename(r"^vis_weight$", "region_mix"),
    rename(r"^lan_weight$", "span_mix"),
    rename(r"^refineimg11\.", "regions.0."),
    rename(r"^refineimg33\.", "regions.1."),
    rename(r"^refineimg55\.", "regions.2."),
    rename(r"^refinelan11\.", "spans.0."),
    rename(r"^refinelan21\.", "spans.1."),
    rename(r"^refinelan31\.", "spans.2."),
    rename(r"\.f_key\.0\.", ".key."),
    rename(r"\.f_query\.0\.", ".query."),
    rename(r"\.f_query2\.0\.", ".window."),
    // A layer over single positions, or over unfolded windows, is a convolution with one axis more or less.
    adapt(r"\.weight$", &RESHAPE),
];

/// Of a decoder layer that stands under its template.
pub const LAYER_KEYS: &[Rule] = &[
    ignore(r"^decoder_layer\.", "the template of a layer, a copy that nothing reads"),
    rename(r"^transformer_model\.layers\.0\.", ""),
    within("", transformer::KEYS),
];

/// Of context clue recovery.
pub const RECOVERY_KEYS: &[Rule] = &[
    ignore(r"\.num_batches_tracked$", "a counter that inference never reads"),
    ignore(r"^decoder_layer\.", "the template of a layer, a copy that nothing reads"),
    rename(r"^conv1\.", "conv."),
    rename(r"^bn1\.", "norm."),
    rename(r"^transformer_model\.layers\.0\.", "layer."),
    within("", transformer::KEYS),
];

/// Of the decoders.
pub const DECODER_KEYS: &[Rule] = &[
    ignore(r"\.num_batches_tracked$", "a counter that inference never reads"),
    rename(r"^conv([12])_([234])\.", "fuse${2}.conv${1}."),
    rename(r"^bn([12])_([234])\.", "fuse${2}.norm${1}."),
    rename(r"^conv1_1\.", "head."),
    rename(r"^crossfuse1\.linear\.", "pool3."),
    rename(r"^crossfuse2\.linear\.", "pool2."),
    rename(r"^transformer_fusion1\.", "attend4."),
    rename(r"^transformer_fusion2\.", "attend3."),
    rename(r"^lan_func\.", "recovery."),
    within("attend4.", LAYER_KEYS),
    within("attend3.", LAYER_KEYS),
    within("recovery.", RECOVERY_KEYS),
];

const RESNET_KEYS: &[Rule] = &[
    rename(r"^layer1\.0\.", "conv1."),
    rename(r"^layer1\.1\.", "bn1."),
    rename(r"^layer1\.4\.", "layer1."),
    within("", resnet::BACKBONE_KEYS),
];

/// Of the network, with either backbone.
pub const NETWORK_KEYS: &[Rule] = &[
    rename(r"^backbone\.all_fusion1\.", "fusion.0."),
    rename(r"^backbone\.all_fusion2\.", "fusion.1."),
    rename(r"^backbone\.all_fusion3\.", "fusion.2."),
    rename(r"^backbone\.all_fusion4\.", "fusion.3."),
    rename(r"^backbone\.layers\.([0-3])\.(fusion|res_gate|W_l)\.", "fusion.$1.$2."),
    within("fusion.0.", MBA_KEYS),
    within("fusion.1.", MBA_KEYS),
    within("fusion.2.", MBA_KEYS),
    within("fusion.3.", MBA_KEYS),
    within("backbone.", RESNET_KEYS),
    within("backbone.", swin::KEYS),
    rename(r"^classifier\.", "decoder."),
    within("decoder.", DECODER_KEYS),
    rename(r"^contrastive\.align_lan\.0\.", "align."),
    adapt(r"^align\.weight$", &RESHAPE),
];

/// What a model has that the published one has not.
pub(super) const ABSENCE: Rule =
    absent(r"^network\.absence\.", "no published model has it: starts from random numbers");

/// Of a whole checkpoint.
pub const OFFICIAL_KEYS: &[Rule] = &[
    ignore(r"^(optimizer|lr_scheduler|args|epoch)(\.|$)", "the state of a training run"),
    rename(r"^model\.", "network."),
    within("network.", NETWORK_KEYS),
    rename(r"^bert_model\.", "text."),
    within("text.", bert::KEYS_WITHOUT_POOLER),
    ABSENCE,
];

/// Of an image encoder and a BERT in one file, under `image` and `bert`: what training starts from.
pub const ENCODER_KEYS: &[Rule] = &[
    rename(r"^image\.", "network.backbone."),
    within("network.backbone.", resnet::BACKBONE_KEYS),
    within("network.backbone.", swin::CLASSIFIER_KEYS),
    within("network.backbone.", CLASSIFIER_TO_DENSE_KEYS),
    rename(r"^bert\.", "text."),
    within("text.", bert::KEYS_WITHOUT_POOLER),
    absent(r"^network\.(fusion|decoder|align|absence)\.", "no encoder has it: starts from random numbers"),
];

/// What becomes of a detector's backbone.
const FROM_DETECTOR: [Rule; 3] = [
    absent(r"^(text|network\.(fusion|decoder|align|absence))\.", "a detector has no phrases"),
    // The first block of every stage must be there: it tells a deeper encoder from another one.
    absent(r"^network\.backbone\.layers\.[0-3]\.blocks\.[1-9]", "a block that the detector's encoder does not have"),
    rename(r"^backbone\.", "network.backbone."),
];

/// What a model can be made of, or started from. Nobody has published one with a ScalableViT.
pub(super) fn layouts(backbone: &Backbone) -> Vec<Layout> {
    let whole = "checkpoints of DMMI's authors, all weights of the file: `model` and `bert_model`";
    let encoders = "an image encoder (Swin or ScalableViT as classifiers publish them, or torchvision's ResNet) and a BERT in one file: \
                    `image` and `bert`";
    let official = Layout::new("official", whole, "model.", OFFICIAL_KEYS);
    let published = (!matches!(backbone, Backbone::ScalableVit(_))).then_some(official);
    let fresh = [Layout::new("encoders", encoders, "bert.", ENCODER_KEYS), focus_detr_layout(&FROM_DETECTOR)];
    published.into_iter().chain(fresh).collect()
}
